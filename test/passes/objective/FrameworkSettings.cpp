#include "test/passes/objective/FrameworkSettings.h"

#include <stdexcept>

namespace graft::objective {

namespace {
using nlohmann::json;

/// A setting as a number; `otherwise` where it is absent or null.
double number(const json &settings, const char *name, double otherwise) {
  return settings.contains(name) && !settings[name].is_null() ? settings[name].get<double>() : otherwise;
}
bool flag(const json &settings, const char *name) {
  return settings.contains(name) && settings[name].is_boolean() && settings[name].get<bool>();
}
std::string word(const json &settings, const char *name) {
  return settings.contains(name) && settings[name].is_string() ? settings[name].get<std::string>() : "";
}

// ---- TRL and Liger

Settings trlPolicy(const json &s, double localTokens) {
  Settings mapped;
  std::string type = word(s, "loss_type");
  double accumulation = number(s, "gradient_accumulation_steps", 1);
  bool sequenceLevel = word(s, "importance_sampling_level") == "sequence";
  mapped.preset = type == "cispo"                       ? "cispo"
                  : sequenceLevel                       ? "gspo"
                  : type == "dr_grpo" || type == "dapo" ? type
                                                        : "grpo";
  mapped.set("clip_low", number(s, "epsilon_low", 0.2));
  mapped.set("clip_high", number(s, "epsilon_high", 0.2));
  if (type == "grpo" || type == "dr_grpo")
    mapped.set("count_sequences", "all");
  if (type == "grpo")
    mapped.set("aggregation", "sequence_mean_token_mean");
  if (type == "dr_grpo") {
    mapped.set("aggregation", "sequence_mean_token_sum_norm");
    mapped.set("max_tokens", number(s, "max_completion_length", 0));
  }
  if (type == "bnpo" || type == "dapo" || type == "cispo")
    mapped.set("aggregation", "token_mean");
  if (type == "dapo" || type == "cispo")
    mapped.set("loss_scale", localTokens * number(s, "steps_per_generation", 1) /
                                 (number(s, "num_items_in_batch", localTokens) * accumulation));
  else
    mapped.set("loss_scale", 1 / accumulation);
  if (type == "cispo")
    mapped.set("cispo_bounds", "absolute");
  else
    mapped.set("delta", number(s, "delta", INFINITY));
  mapped.set("kl", "k3");
  mapped.set("kl_coef", number(s, "beta", 0));
  mapped.set("entropy_coef", number(s, "entropy_coef", 0));
  mapped.set("entropy_aggregation", "token_mean");
  return mapped;
}

Settings trlAdvantages(const json &s) {
  Settings mapped;
  mapped.preset = "grpo";
  mapped.role = Role::Advantages;
  mapped.set("scale", word(s, "scale_rewards"));
  mapped.set("eps", 1e-4);
  return mapped;
}

// ---- verl

std::string verlAggregation(const std::string &mode) {
  if (mode == "token-mean")
    return "token_mean";
  if (mode == "token-sum")
    return "token_sum";
  if (mode == "seq-mean-token-sum")
    return "sequence_mean_token_sum";
  if (mode == "seq-mean-token-mean")
    return "sequence_mean_token_mean";
  if (mode == "seq-mean-token-sum-norm")
    return "sequence_mean_token_sum_norm";
  throw std::runtime_error("unknown loss_agg_mode " + mode);
}

void verlAggregate(const json &s, Settings &mapped) {
  std::string aggregation = verlAggregation(word(s, "loss_agg_mode"));
  mapped.set("aggregation", aggregation);
  mapped.set("max_tokens", number(s, "loss_scale_factor", 0));
  if (aggregation == "sequence_mean_token_mean")
    mapped.set("denominator_eps", 1e-8);
}

void verlKl(Settings &mapped, const std::string &type) {
  bool isK3 = type == "low_var_kl" || type == "k3" || type == "k3+";
  mapped.set("kl", type == "kl" || type == "k1"    ? "k1"
                   : type == "mse" || type == "k2" ? "k2"
                   : type == "k3+"                 ? "k3_straight_through"
                   : isK3                          ? "k3"
                                                   : type);
  if (isK3) {
    mapped.set("kl_input_clamp", 20.0);
    mapped.set("kl_output_clamp", 10.0);
  }
}

Settings verlPolicy(const json &s) {
  Settings mapped;
  std::string mode = word(s, "loss_mode");
  mapped.preset = mode == "gspo" || mode == "cispo" ? mode : "ppo_clip";
  // verl's configuration gives clip_ratio_low and clip_ratio_high the default 0.2, which wins over clip_ratio.
  mapped.set("clip_low", number(s, "clip_ratio_low", 0.2));
  mapped.set("clip_high", number(s, "clip_ratio_high", 0.2));
  verlAggregate(s, mapped);
  if (mode == "gspo") {
    mapped.set("gspo", "token");
    mapped.set("ratio_log_max", 10.0);
  } else {
    mapped.set("log_ratio_clamp", 20.0);
  }
  if (mapped.preset == "ppo_clip")
    mapped.set("dual_clip", number(s, "clip_ratio_c", 3));
  if (flag(s, "use_kl_loss")) {
    verlKl(mapped, word(s, "kl_loss_type"));
    mapped.set("kl_coef", number(s, "kl_loss_coef", 0));
  }
  mapped.set("entropy_coef", number(s, "entropy_coeff", 0));
  return mapped;
}

Settings verlAdvantages(const std::string &function, const json &s) {
  Settings mapped;
  mapped.role = Role::Advantages;
  mapped.preset = function.find("rloo") != std::string::npos ? "rloo"
                  : flag(s, "norm_adv_by_std_in_grpo")       ? "grpo"
                                                             : "dr_grpo";
  mapped.set("group_of_one", function.find("vectorized") != std::string::npos ? "zero" : "raw");
  if (mapped.preset == "grpo")
    mapped.set("eps", 1e-6);
  return mapped;
}

// ---- the others

Settings openrlhfPolicy(const json &s) {
  Settings mapped;
  bool gspo = word(s, "policy_loss_type") == "gspo";
  mapped.preset = gspo ? "gspo" : "ppo_clip";
  mapped.set("clip_low", number(s, "clip_eps_low", 0.2));
  mapped.set("clip_high", number(s, "clip_eps_high", 0.2));
  mapped.set("dual_clip", number(s, "dual_clip", INFINITY));
  mapped.set("log_ratio_clamp", gspo ? INFINITY : 20.0);
  mapped.set("aggregation", flag(s, "token_level_loss") ? "token_mean" : "sequence_mean_token_mean");
  return mapped;
}

Settings nemoPolicy(const json &s) {
  Settings mapped;
  bool cispo = flag(s, "use_cispo");
  mapped.preset = cispo ? "cispo" : "grpo";
  mapped.set("clip_low", number(s, "ratio_clip_min", 0.2));
  mapped.set("clip_high", number(s, "ratio_clip_max", 0.2));
  if (!cispo)
    mapped.set("dual_clip", number(s, "ratio_clip_c", INFINITY));
  mapped.set("aggregation", flag(s, "token_level_loss") ? "token_mean" : "sequence_mean_token_mean");
  mapped.set("denominator_eps", 1e-8);
  mapped.set("kl", word(s, "reference_policy_kl_type"));
  mapped.set("kl_coef", number(s, "reference_policy_kl_penalty", 0));
  mapped.set("kl_input_clamp", number(s, "kl_input_clamp_value", INFINITY));
  mapped.set("kl_output_clamp", number(s, "kl_output_clamp_value", INFINITY));
  mapped.set("kl_weight", "self");
  return mapped;
}

Settings arealPolicy(const json &s) {
  Settings mapped;
  mapped.preset = "ppo_clip";
  double clip = number(s, "eps_clip", 0.2);
  mapped.set("clip_low", clip);
  mapped.set("clip_high", number(s, "eps_clip_higher", clip));
  mapped.set("dual_clip", number(s, "c_clip", INFINITY));
  return mapped;
}

const char klText[] = "objective kl_alone\nuse aggregation\nuse kl\nloss = aggregate(kl_estimate)\n";
const char aggregationText[] =
    "objective aggregation_alone\nuse aggregation\ninput loss_matrix : token\nloss = aggregate(loss_matrix)\n";

// Of logits, as their functions take them.
const char smoothedText[] =
    "objective smoothed\ninput logits : vocabulary\nparam epsilon = 0.1\nl = log_softmax(logits)\n"
    "loss = token_mean(-(1 - epsilon) * at_token(l) - epsilon * vocab_mean(l))\n";
const char zLossText[] =
    "objective z\ninput logits : vocabulary\nparam coefficient = 0\n"
    "loss = token_mean(coefficient * vocab_logsumexp(logits) ^ 2 - at_token(log_softmax(logits)))\n";
const char entropyText[] = "objective e\ninput logits : vocabulary\n"
                           "loss = token_mean(-vocab_sum(softmax(logits) * log_softmax(logits)))\n";
const char distillText[] = R"(
objective distill
input student_logits : vocabulary
input teacher_logits : vocabulary
param beta = 0.5
param temperature = 1
s = log_softmax(student_logits / temperature)
t = log_softmax(teacher_logits / temperature)
m = log((1 - beta) * exp(s) + beta * exp(t))
def divergence(p, q) = vocab_sum(exp(p) * (p - q))
loss = token_mean(if beta == 0 then divergence(t, s) else if beta == 1 then divergence(s, t)
                  else beta * divergence(t, m) + (1 - beta) * divergence(s, m))
)";
const char titanText[] = R"(
objective titan
input logits : vocabulary
input sampler_logprobs : token
input advantages : token
param low = 0
param high = 0
param divisor = 1
ratio = exp(clip(at_token(log_softmax(logits)) - sampler_logprobs, -10, 10))
loss = token_sum(max(-advantages * ratio, -advantages * clip(ratio, 1 - low, 1 + high))) / divisor
)";

Settings ofLogits(const std::string &objective, const json &s) {
  Settings mapped;
  if (objective == "sft_label_smoothing") {
    mapped.text = smoothedText;
    mapped.set("epsilon", number(s, "epsilon", 0));
  } else if (objective == "sft_z_loss") {
    mapped.text = zLossText;
    mapped.set("coefficient", number(s, "z_loss_multiplier", number(s, "lse_square_scale", 0)));
  } else if (objective == "entropy_from_logits") {
    mapped.text = entropyText;
  } else if (objective == "dapo_from_logits") {
    mapped.text = titanText;
    mapped.set("low", number(s, "ratio_clip_low", 0));
    mapped.set("high", number(s, "ratio_clip_high", 0));
    mapped.set("divisor", number(s, "global_valid_tokens", 0));
  } else {
    mapped.text = distillText;
    mapped.set("beta", number(s, "beta", 0));
    mapped.set("temperature", number(s, "temperature", 1));
  }
  return mapped;
}

Settings klAlone(const json &s, const std::string &framework) {
  Settings mapped;
  mapped.text = klText;
  if (framework == "verl") {
    verlKl(mapped, word(s, "kl_penalty"));
    return mapped;
  }
  mapped.set("kl", word(s, "kl_type"));
  mapped.set("kl_weight", "self");
  mapped.set("kl_input_clamp", number(s, "input_clamp_value", INFINITY));
  mapped.set("kl_output_clamp", number(s, "output_clamp_value", INFINITY));
  return mapped;
}
} // namespace

Settings settingsOf(const json &c, double localTokens) {
  std::string framework = c["framework"], kind = c["kind"];
  const json &s = c["settings"];
  if (s.contains("V"))
    return ofLogits(c["case"].get<std::string>().substr(0, c["case"].get<std::string>().find('/')), s);
  if (kind == "kl")
    return klAlone(s, framework);
  if (kind == "aggregation") {
    Settings mapped;
    mapped.text = aggregationText;
    verlAggregate(s, mapped);
    return mapped;
  }
  if (kind == "sft") {
    Settings mapped;
    mapped.preset = "sft";
    return mapped;
  }
  if (kind == "advantage")
    return framework == "verl" ? verlAdvantages(c["function"], s) : trlAdvantages(s);
  if (framework == "TRL" || framework == "Liger-Kernel")
    return trlPolicy(s, localTokens);
  if (framework == "verl")
    return verlPolicy(s);
  if (framework == "OpenRLHF")
    return openrlhfPolicy(s);
  if (framework == "NeMo-RL")
    return nemoPolicy(s);
  if (framework == "AReaL")
    return arealPolicy(s);
  throw std::runtime_error("no settings are known of " + framework);
}

} // namespace graft::objective
