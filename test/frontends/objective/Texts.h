// Short ways to compile texts in tests.
#pragma once

#include "frontends/objective/Objective.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace graft::objective {

/// `body` behind a header and two inputs, so that it begins in line 4.
inline std::string policy(const std::string &body) {
  return "objective t\ninput logprobs : token\ninput rewards : sequence\n" + body + "\n";
}

/// The objective, or a test failure that prints its faults.
inline Objective compiled(const std::string &source, const std::vector<Override> &overrides = {}) {
  auto result = compile("t.objective", source, overrides);
  if (!result.isOk()) {
    ADD_FAILURE() << result.status().text();
    return {};
  }
  return std::move(*result);
}

/// All that is said about a faulty text; a test failure if it compiles.
inline std::string faults(const std::string &source, const std::vector<Override> &overrides = {}) {
  auto result = compile("t.objective", source, overrides);
  if (result.isOk()) {
    ADD_FAILURE() << "compiles: " << source;
    return "";
  }
  return result.status().text();
}

inline std::vector<std::string> names(const std::vector<Input> &inputs) {
  std::vector<std::string> names;
  for (const Input &input : inputs)
    names.push_back(input.name);
  return names;
}

} // namespace graft::objective
