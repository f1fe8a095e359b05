// Reads a JSON file of a user field by field and says, with the exact JSON path, what is wrong: a wrong type, a missing
// field, or one that is not supported. Null and comments are ignored; unknown keys are, as in Batch AI's command line,
// with a warning where the reader collects warnings, and refused where it does not. Pure.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/result.h"
#include "common/time.h"

namespace trainyard::batchai {

inline constexpr std::size_t kLargestFileBytes = 4 * 1024 * 1024;

// Parses `text` of the file `name`. Errors carry name:line:column. A key given twice is an error.
Result<nlohmann::json> parse_file(const std::string& text, const std::string& name);

// "P7D" or "d.hh:mm:ss" / "hh:mm:ss"; -1 when malformed, zero or negative.
DurationMs parse_time_limit(const std::string& text);

// The first thing that was wrong; later ones are dropped, so that callers may read on and look once.
using FirstError = std::optional<Error>;

// One JSON object. Every getter marks its key as known; finish() deals with the others.
class Fields {
 public:
  // With `warnings`, what is ignored is said there; without, unknown keys are errors.
  Fields(const nlohmann::json* value, std::string path, FirstError& error,
         std::vector<std::string>* warnings = nullptr);

  bool has(const char* key) const;  // present and not null
  std::string path_of(const std::string& key) const;
  void fail(const std::string& key, const std::string& what);         // "<path>: <what>"
  void refuse(const std::string& key, const std::string& hint = "");  // "not supported yet: <path>"
  void warn(const std::string& key, const std::string& what);         // "<path>: <what>", where warnings are collected
  // Fields of older API versions that mean nothing any more: ignored with a warning that says why.
  void drop(std::initializer_list<const char*> keys, const std::string& why);

  enum class Need { optional, required };
  std::string text(const char* key, Need need = Need::optional);
  std::optional<std::int32_t> whole(const char* key, std::int32_t least, Need need = Need::optional);
  std::optional<DurationMs> duration(const char* key);
  bool flag(const char* key);                                  // absent: false
  std::vector<std::string> texts(const char* key);             // an array of strings; absent: none
  std::size_t count(const char* key);                          // entries of an array; 0: absent
  Fields object(const char* key, Need need = Need::optional);  // of an absent one every getter finds nothing

  template <class T>
  T one_of(const char* key, std::initializer_list<std::pair<const char*, T>> choices, T otherwise) {
    const std::string given = text(key);
    if (given.empty()) return otherwise;
    std::string names;
    for (const auto& [name, value] : choices) {
      if (same_word(name, given)) return value;
      names += (names.empty() ? "" : ", ") + std::string(name);
    }
    fail(key, "must be one of " + names + ", got \"" + given + "\"");
    return otherwise;
  }

  // Calls `read` with the Fields of each object in the array, and finishes each.
  template <class Read>
  void each(const char* key, Read read) {
    const nlohmann::json* items = array(key);
    for (std::size_t at = 0; items != nullptr && at < items->size(); ++at) {
      Fields item(&(*items)[at], path_of(key) + "[" + std::to_string(at) + "]", x_error, x_warnings);
      read(item);
      item.finish();
    }
  }

  void finish();
  static bool same_word(std::string_view left, std::string_view right);  // without case

 private:
  const nlohmann::json* find(const char* key, Need need);
  const nlohmann::json* array(const char* key);

  const nlohmann::json* x_value;  // null: absent
  std::string x_path;
  FirstError& x_error;
  std::vector<std::string>* x_warnings;
  std::set<std::string> x_known;
};

}  // namespace trainyard::batchai
