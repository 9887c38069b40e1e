// From the settings under which a framework produced golden values to the parameters of Graft's objectives: the map
// that a user makes in their head. One function per framework.
#pragma once

#include "frontends/objective/Objective.h"

#include <nlohmann/json.hpp>

namespace graft::objective {

/// What to run for a golden case.
struct Settings {
  std::string text; ///< an objective's text; empty: preset
  std::string preset;
  Role role = Role::Objective;
  std::vector<Override> overrides;

  void set(const std::string &name, ParameterValue value) {
    overrides.push_back({name, std::move(value), "golden case"});
  }
};

/// `localTokens`: unmasked tokens of the case.
Settings settingsOf(const nlohmann::json &goldenCase, double localTokens);

} // namespace graft::objective
