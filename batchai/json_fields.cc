#include "batchai/json_fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <limits>
#include <vector>

namespace trainyard::batchai {
namespace {

using nlohmann::json;

constexpr int kDeepest = 100;

// What the file had, short enough for a message.
std::string shown(const json& value) {
  std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  return text;
}

bool is_comment(const std::string& key) {
  return key == "$schema" || key == "comment" || key == "$comment";
}

// The library's sentence without its error number and position.
std::string bare_message(const std::string& what) {
  const auto colon = what.find(": ");
  return colon == std::string::npos ? what : what.substr(colon + 2);
}

std::string place(const std::string& text, const std::string& name, std::size_t byte) {
  const std::size_t end = std::min(byte == 0 ? 0 : byte - 1, text.size());
  const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(end), '\n');
  const std::size_t before = end == 0 ? std::string::npos : text.rfind('\n', end - 1);
  const std::size_t column = before == std::string::npos ? end + 1 : end - before;
  return fmt::format("{}: line {}, column {}", name, line, column);
}

}  // namespace

Result<json> parse_file(const std::string& text, const std::string& name) {
  if (text.size() > kLargestFileBytes) {
    return Error{Code::invalid_argument,
                 fmt::format("{}: the file has {} bytes, more than the {} (4 MB) that are taken; keep data on a share",
                             name, text.size(), kLargestFileBytes)};
  }
  std::vector<std::set<std::string>> keys;  // of each open object
  std::string twice;
  bool too_deep = false;
  const auto watch = [&](int depth, json::parse_event_t event, json& parsed) {
    // Printing a value goes down into it: a file of brackets must not end the program.
    too_deep = too_deep || depth > kDeepest;
    if (too_deep) return false;
    if (event == json::parse_event_t::object_start) keys.emplace_back();
    if (event == json::parse_event_t::object_end) keys.pop_back();
    if (event == json::parse_event_t::key && !keys.back().insert(parsed.get<std::string>()).second && twice.empty()) {
      twice = parsed.get<std::string>();
    }
    return true;
  };
  try {
    json parsed = json::parse(text, watch);
    if (too_deep) {
      return Error{Code::invalid_argument, fmt::format("{}: is nested more than {} deep", name, kDeepest)};
    }
    if (!twice.empty()) {
      return Error{Code::invalid_argument, fmt::format("{}: \"{}\" is given twice in one object", name, twice)};
    }
    if (!parsed.is_object()) {
      return Error{Code::invalid_argument, fmt::format("{}: must hold a JSON object, got {}", name, shown(parsed))};
    }
    return parsed;
  } catch (const json::parse_error& error) {
    return Error{Code::invalid_argument,
                 fmt::format("{}: {}", place(text, name, error.byte), bare_message(error.what()))};
  } catch (const json::exception& error) {
    return Error{Code::invalid_argument, fmt::format("{}: {}", name, bare_message(error.what()))};
  }
}

DurationMs parse_time_limit(const std::string& text) {
  if (!text.empty() && text[0] == 'P') return parse_duration(text);
  DurationMs days = 0;
  std::string clock = text;
  const auto digits = [](const std::string& part, std::size_t most) {
    return !part.empty() && part.size() <= most &&
           std::all_of(part.begin(), part.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
  };
  if (const auto dot = text.find('.'); dot != std::string::npos) {
    if (!digits(text.substr(0, dot), 5)) return -1;
    days = std::stoll(text.substr(0, dot));
    clock = text.substr(dot + 1);
  }
  if (clock.size() != 8 || clock[2] != ':' || clock[5] != ':') return -1;
  const std::string hours = clock.substr(0, 2), minutes = clock.substr(3, 2), seconds = clock.substr(6, 2);
  if (!digits(hours, 2) || !digits(minutes, 2) || !digits(seconds, 2)) return -1;
  if (std::stoi(hours) > 23 || std::stoi(minutes) > 59 || std::stoi(seconds) > 59) return -1;
  const DurationMs total =
      (((days * 24 + std::stoi(hours)) * 60 + std::stoi(minutes)) * 60 + std::stoi(seconds)) * 1000;
  return total > 0 ? total : -1;
}

Fields::Fields(const json* value, std::string path, FirstError& error, std::vector<std::string>* warnings)
    : x_value(value), x_path(std::move(path)), x_error(error), x_warnings(warnings) {
  if (x_value == nullptr || x_value->is_object()) return;
  if (!x_error) {
    x_error = Error{Code::invalid_argument, fmt::format("{}: must be an object, got {}", x_path, shown(*x_value))};
  }
  x_value = nullptr;
}

bool Fields::same_word(std::string_view left, std::string_view right) {
  return std::equal(left.begin(), left.end(), right.begin(), right.end(),
                    [](unsigned char a, unsigned char b) { return std::tolower(a) == std::tolower(b); });
}

std::string Fields::path_of(const std::string& key) const {
  if (x_path.empty()) return key;
  return key.empty() ? x_path : x_path + "." + key;
}

void Fields::fail(const std::string& key, const std::string& what) {
  if (!x_error) x_error = Error{Code::invalid_argument, path_of(key) + ": " + what};
}

void Fields::refuse(const std::string& key, const std::string& hint) {
  if (x_error) return;
  x_error = Error{Code::invalid_argument,
                  "not supported yet: " + path_of(key) + (hint.empty() ? std::string() : ": " + hint)};
}

void Fields::warn(const std::string& key, const std::string& what) {
  if (x_warnings != nullptr) x_warnings->push_back(path_of(key) + ": " + what);
}

void Fields::drop(std::initializer_list<const char*> keys, const std::string& why) {
  for (const char* key : keys) {
    x_known.insert(key);
    if (has(key)) warn(key, "ignored: " + why);
  }
}

bool Fields::has(const char* key) const {
  if (x_value == nullptr) return false;
  const auto found = x_value->find(key);
  return found != x_value->end() && !found->is_null();
}

const json* Fields::find(const char* key, Need need) {
  x_known.insert(key);
  if (has(key)) return &*x_value->find(key);
  if (need == Need::required && x_value != nullptr) fail(key, "is missing");
  return nullptr;
}

std::string Fields::text(const char* key, Need need) {
  const json* value = find(key, need);
  if (value == nullptr) return {};
  if (!value->is_string()) {
    fail(key, "must be a string, got " + shown(*value));
    return {};
  }
  std::string text = value->get<std::string>();
  if (text.find('\0') != std::string::npos) fail(key, "must not contain a NUL character");
  if (text.empty() && need == Need::required) fail(key, "must not be empty");
  return text;
}

std::optional<std::int32_t> Fields::whole(const char* key, std::int32_t least, Need need) {
  const json* value = find(key, need);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number_integer()) {
    fail(key, "must be a whole number, got " + shown(*value));
    return std::nullopt;
  }
  constexpr std::int32_t kMost = std::numeric_limits<std::int32_t>::max();
  const bool huge = value->is_number_unsigned() && value->get<std::uint64_t>() > static_cast<std::uint64_t>(kMost);
  if (huge) {
    fail(key, fmt::format("must be at most {}, got {}", kMost, shown(*value)));
    return std::nullopt;
  }
  const auto number = value->get<std::int64_t>();
  if (number < least) {
    fail(key, fmt::format("must be at least {}, got {}", least, number));
    return std::nullopt;
  }
  return static_cast<std::int32_t>(number);
}

std::optional<DurationMs> Fields::duration(const char* key) {
  const std::string given = text(key);
  if (given.empty()) return std::nullopt;
  const DurationMs parsed = parse_time_limit(given);
  if (parsed > 0) return parsed;
  fail(key, "must be a duration above zero such as \"PT90M\", \"P7D\" or \"1.12:00:00\", got \"" + given + "\"");
  return std::nullopt;
}

Fields Fields::object(const char* key, Need need) {
  return Fields(find(key, need), path_of(key), x_error, x_warnings);
}

bool Fields::flag(const char* key) {
  const json* value = find(key, Need::optional);
  if (value == nullptr) return false;
  if (value->is_boolean()) return value->get<bool>();
  fail(key, "must be true or false, got " + shown(*value));
  return false;
}

std::vector<std::string> Fields::texts(const char* key) {
  std::vector<std::string> texts;
  const json* items = array(key);
  for (std::size_t at = 0; items != nullptr && at < items->size(); ++at) {
    if (!(*items)[at].is_string()) {
      fail(std::string(key) + "[" + std::to_string(at) + "]", "must be a string, got " + shown((*items)[at]));
      return {};
    }
    texts.push_back((*items)[at].get<std::string>());
  }
  return texts;
}

const json* Fields::array(const char* key) {
  const json* value = find(key, Need::optional);
  if (value != nullptr && !value->is_array()) {
    fail(key, "must be an array, got " + shown(*value));
    return nullptr;
  }
  return value;
}

std::size_t Fields::count(const char* key) {
  const json* items = array(key);
  return items == nullptr ? 0 : items->size();
}

void Fields::finish() {
  if (x_value == nullptr) return;
  for (const auto& [key, value] : x_value->items()) {
    if (value.is_null() || is_comment(key) || x_known.contains(key)) continue;
    const auto near = std::find_if(x_known.begin(), x_known.end(),
                                   [&key = key](const std::string& known) { return same_word(known, key); });
    const std::string hint = near == x_known.end() ? std::string() : "did you mean " + *near + "?";
    if (x_warnings == nullptr) {
      refuse(key, hint);
    } else {
      warn(key, "ignored: no field of that name is known" + (hint.empty() ? hint : "; " + hint));
    }
  }
}

}  // namespace trainyard::batchai
