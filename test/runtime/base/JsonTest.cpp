#include "runtime/base/Json.h"

#include <cmath>
#include <gtest/gtest.h>
#include <limits>

namespace graft {
namespace {

bool accepts(std::string_view text) {
  JsonReader json(text);
  return json.skip() && json.finish();
}

TEST(Json, AcceptsWhatTheGrammarAllows) {
  for (std::string_view text : {"{}", " [ ] ", "[1,-0,0.5,1e3,-1.25E-7]", R"({"a":{"b":[null,true,false,"x"]},"a":1})",
                                R"("\u0061\n\ud83d\ude00\/")", "\"\xC3\xA4\"", "\t\r\n1 "})
    EXPECT_TRUE(accepts(text)) << text;
}

TEST(Json, RefusesWhatItDoesNot) {
  for (std::string_view text : {"",
                                " ",
                                "{",
                                "[1,]",
                                "{\"a\":1,}",
                                "{,}",
                                "{\"a\" 1}",
                                "{a:1}",
                                "[1 2]",
                                "01",
                                "+1",
                                ".5",
                                "1.",
                                "1e",
                                "-",
                                "NaN",
                                "Infinity",
                                "nul",
                                "tru",
                                "'a'",
                                "\"a",
                                "\"\t\"",
                                R"("\x")",
                                R"("\u12")",
                                R"("\u12g4")",
                                R"("\ud800")",
                                R"("\udc00")",
                                R"("\ud800\u0041")",
                                R"("\ud800x")",
                                "\"\xFF\"",
                                "\"\xC0\xAF\"",
                                "\"\xED\xA0\x80\"",
                                "\"\xF5\x80\x80\x80\"",
                                "{} {}",
                                "1//c",
                                "\xEF\xBB\xBF{}",
                                "]",
                                "}",
                                "[}",
                                "{]"})
    EXPECT_FALSE(accepts(text)) << escaped(text);
  EXPECT_FALSE(accepts(std::string_view("{}\0", 3)));
}

TEST(Json, LimitsDepthWithoutUsingTheStack) {
  std::string deep(1'000'000, '[');
  JsonReader json(deep);
  EXPECT_FALSE(json.skip());
  EXPECT_EQ(json.error().code, Code::Limit);
  EXPECT_TRUE(accepts(std::string(64, '[') + std::string(64, ']')));
  EXPECT_FALSE(accepts(std::string(65, '[') + std::string(65, ']')));
}

TEST(Json, WalksObjectsAndArrays) {
  JsonReader json(R"({"n": [1, 2], "\u0073": "t\u0041", "b": true, "z": null, "raw": {"x": [1, {}]} })");
  std::string key, keys, text;
  std::string_view number, raw;
  bool flag = false;
  int sum = 0;
  ASSERT_TRUE(json.enterObject());
  while (json.nextKey(key)) {
    keys += key + " ";
    if (key == "n") {
      ASSERT_TRUE(json.enterArray());
      while (json.nextElement() && json.readNumber(number))
        sum += static_cast<int>(*parseInteger(number));
    } else if (key == "s") {
      EXPECT_TRUE(json.readString(text));
    } else if (key == "b") {
      EXPECT_TRUE(json.readBool(flag));
    } else if (key == "z") {
      EXPECT_TRUE(json.readNull());
    } else {
      EXPECT_TRUE(json.skip(&raw));
    }
  }
  EXPECT_TRUE(json.finish()) << json.error().message;
  EXPECT_EQ(keys, "n s b z raw ");
  EXPECT_EQ(sum, 3);
  EXPECT_EQ(text, "tA");
  EXPECT_TRUE(flag);
  EXPECT_EQ(raw, R"({"x": [1, {}]})");
}

TEST(Json, SaysWhereItStopped) {
  JsonReader json(R"({"a": 1 "b": 2})");
  EXPECT_FALSE(json.skip());
  EXPECT_EQ(json.error().offset, 8u);
  EXPECT_NE(json.error().message.find("','"), std::string::npos);
  EXPECT_FALSE(json.enterObject()) << "nothing works after an error";
}

TEST(Json, RefusesTheWrongKind) {
  std::string text;
  std::string_view number;
  bool flag;
  EXPECT_FALSE(JsonReader("1").readString(text));
  EXPECT_FALSE(JsonReader("\"1\"").readNumber(number));
  EXPECT_FALSE(JsonReader("1").readBool(flag));
  EXPECT_FALSE(JsonReader("1").readNull());
  EXPECT_FALSE(JsonReader("[]").enterObject());
  EXPECT_FALSE(JsonReader("{}").enterArray());
}

TEST(Json, ParsesNumbersAsTheyAreSpelled) {
  EXPECT_EQ(parseInteger("-9223372036854775808"), std::numeric_limits<int64_t>::min());
  EXPECT_FALSE(parseInteger("9223372036854775808"));
  EXPECT_FALSE(parseInteger("1.0"));
  EXPECT_FALSE(parseInteger("1e3"));
  EXPECT_FALSE(parseInteger(""));
  EXPECT_EQ(parseUnsigned("18446744073709551615"), UINT64_MAX);
  EXPECT_FALSE(parseUnsigned("-1"));
  EXPECT_FALSE(parseUnsigned("18446744073709551616"));
  EXPECT_EQ(parseReal("0.1"), 0.1);
  EXPECT_EQ(parseReal("1e-400"), 0.0) << "underflow is no fault";
  EXPECT_FALSE(parseReal("1e999"));
  EXPECT_FALSE(parseReal("-1e999"));
}

TEST(Json, WritesStringsAndNumbersThatReadBack) {
  EXPECT_EQ(jsonString("a\"\\\n\x01µ"), R"("a\"\\\u000a\u0001µ")");
  EXPECT_EQ(jsonString("\xFF"), "\"\xEF\xBF\xBD\"");
  EXPECT_TRUE(accepts(jsonString(std::string_view("\0\x1f\xC3", 3))));
  EXPECT_EQ(jsonNumber(0.1), "0.1");
  EXPECT_EQ(jsonNumber(1e-6), "1e-06");
  EXPECT_EQ(jsonNumber(16), "16");
  EXPECT_EQ(jsonNumber(std::nan("")), "null");
  EXPECT_EQ(jsonNumber(std::numeric_limits<double>::infinity()), "null");
  EXPECT_EQ(parseReal(jsonNumber(1.0 / 3)), 1.0 / 3);
}

} // namespace
} // namespace graft
