#include "cli/jmespath/functions.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

namespace trainyard::cli::jmespath {
namespace {

// What an argument may be: a set of these.
enum Type : unsigned {
  kNumber = 1,
  kString = 2,
  kBoolean = 4,
  kArray = 8,
  kObject = 16,
  kNull = 32,
  kReference = 64,
  kNumbers = 128,  // an array of numbers
  kStrings = 256,
  kAny = kNumber | kString | kBoolean | kArray | kObject | kNull,
};

struct TypeName {
  Type type;
  const char* name;
};
constexpr TypeName kTypeNames[] = {{kNumber, "a number"},
                                   {kString, "a string"},
                                   {kArray, "an array"},
                                   {kObject, "an object"},
                                   {kReference, "an expression (&name)"},
                                   {kNumbers, "an array of numbers"},
                                   {kStrings, "an array of strings"},
                                   {kBoolean, "a boolean"},
                                   {kNull, "null"}};

Type type_of(const Json& value) {
  if (value.is_number()) return kNumber;
  if (value.is_string()) return kString;
  if (value.is_boolean()) return kBoolean;
  if (value.is_array()) return kArray;
  return value.is_object() ? kObject : kNull;
}

std::string name_of(unsigned types) {
  std::string out;
  for (const TypeName& each : kTypeNames) {
    if ((types & each.type) != 0) out += (out.empty() ? "" : " or ") + std::string(each.name);
  }
  return out;
}

bool all_are(const Json& items, Type type) {
  return std::all_of(items.begin(), items.end(), [type](const Json& item) { return type_of(item) == type; });
}

bool fits(const Argument& argument, unsigned types) {
  if (argument.reference != nullptr) return (types & kReference) != 0;
  const Type type = type_of(argument.value);
  if ((types & type) != 0) return true;
  if (type != kArray) return false;
  return ((types & kNumbers) != 0 && all_are(argument.value, kNumber)) ||
         ((types & kStrings) != 0 && all_are(argument.value, kString));
}

using Arguments = std::vector<Argument>;

bool less(const Json& left, const Json& right) {
  if (left.is_string()) return left.get_ref<const std::string&>() < right.get_ref<const std::string&>();
  return left < right;
}

Json whole(double value) {
  constexpr double kExact = 9007199254740992.0;  // 2^53
  if (std::abs(value) <= kExact) return static_cast<std::int64_t>(value);
  return value;
}

Json rounded(const Json& value, double (*round)(double)) {
  return value.is_number_float() ? whole(round(value.get<double>())) : value;
}

Json absolute(const Json& value) {
  if (value.is_number_float()) return std::abs(value.get<double>());
  const bool negative = value.is_number_integer() && !value.is_number_unsigned() && value.get<std::int64_t>() < 0;
  if (!negative) return value;
  const auto number = value.get<std::int64_t>();
  return number == std::numeric_limits<std::int64_t>::min() ? Json(-static_cast<double>(number)) : Json(-number);
}

Json sum(const Json& items) {
  std::int64_t exact = 0;
  double any = 0;
  bool fits = true;
  for (const Json& item : items) {
    any += item.get<double>();
    fits = fits && item.is_number_integer() && !__builtin_add_overflow(exact, item.get<std::int64_t>(), &exact);
  }
  return fits ? Json(exact) : Json(any);
}

Json average(const Json& items) {
  if (items.empty()) return nullptr;
  return sum(items).get<double>() / static_cast<double>(items.size());
}

Json contains(const Json& subject, const Json& wanted) {
  if (subject.is_string()) {
    return wanted.is_string() &&
           subject.get_ref<const std::string&>().find(wanted.get_ref<const std::string&>()) != std::string::npos;
  }
  return std::any_of(subject.begin(), subject.end(), [&](const Json& item) { return equal(item, wanted); });
}

Json joined(const Json& glue, const Json& words) {
  std::string out;
  for (std::size_t at = 0; at < words.size(); ++at) {
    if (at > 0) out += glue.get_ref<const std::string&>();
    out += words[at].get_ref<const std::string&>();
  }
  return out;
}

Json keys_of(const Json& object) {
  Json out = Json::array();
  for (const auto& [key, value] : object.items()) out.push_back(key);
  return out;
}

Json values_of(const Json& object) {
  Json out = Json::array();
  for (const Json& value : object) out.push_back(value);
  return out;
}

Json length_of(const Json& value) {
  return value.is_string() ? characters_in(value.get_ref<const std::string&>()) : value.size();
}

Json extreme(const Json& items, bool largest) {
  if (items.empty()) return nullptr;
  const auto found =
      largest ? std::max_element(items.begin(), items.end(), less) : std::min_element(items.begin(), items.end(), less);
  return *found;
}

Json merged(const Arguments& objects) {
  Json out = Json::object();
  for (const Argument& object : objects) {
    for (const auto& [key, value] : object.value.items()) out[key] = value;
  }
  return out;
}

Json first_that_is(const Arguments& values) {
  for (const Argument& each : values) {
    if (!each.value.is_null()) return each.value;
  }
  return nullptr;
}

Json reversed(const Json& value) {
  if (value.is_array()) {
    Json out = Json::array();
    for (std::size_t at = value.size(); at-- > 0;) out.push_back(value[at]);
    return out;
  }
  const auto& text = value.get_ref<const std::string&>();
  std::string out;
  for (std::size_t end = text.size(); end > 0;) {
    std::size_t start = end - 1;
    while (start > 0 && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
    out += text.substr(start, end - start);
    end = start;
  }
  return out;
}

Json in_order(const Json& items) {
  std::vector<Json> all(items.begin(), items.end());
  std::stable_sort(all.begin(), all.end(), less);
  return Json(all);
}

Json as_text(const Json& value) {
  if (value.is_string()) return value;
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Json as_number(const Json& value) {
  if (value.is_number()) return value;
  if (!value.is_string()) return nullptr;
  const Json number = Json::parse(value.get_ref<const std::string&>(), nullptr, false);
  return number.is_number() ? number : Json(nullptr);
}

Json type_name(const Json& value) {
  switch (type_of(value)) {
    case kNumber:
      return "number";
    case kString:
      return "string";
    case kBoolean:
      return "boolean";
    case kArray:
      return "array";
    case kObject:
      return "object";
    default:
      return "null";
  }
}

Error wrong_type(const std::string& function, const std::string& what, const std::string& needed,
                 const std::string& found) {
  return Error{Code::invalid_argument, fmt::format("{}(): {} must be {}, not {}", function, what, needed, found)};
}

Result<Json> mapped(const Node& reference, const Json& items, const Apply& apply) {
  Json out = Json::array();
  for (const Json& item : items) {
    auto value = apply(reference, item);
    if (!value) return value.error();
    out.push_back(std::move(*value));
  }
  return out;
}

// An item and what the expression gave for it: all numbers, or all strings.
using Keyed = std::pair<Json, const Json*>;

Result<std::vector<Keyed>> keyed(const char* function, const Json& items, const Node& reference, const Apply& apply) {
  std::vector<Keyed> out;
  for (const Json& item : items) {
    auto key = apply(reference, item);
    if (!key) return key.error();
    const Type wanted = out.empty() ? type_of(*key) : type_of(out.front().first);
    if ((wanted & (kNumber | kString)) == 0 || type_of(*key) != wanted) {
      return wrong_type(function, "what the expression gives", "a number for every item, or a string for every item",
                        fmt::format("{} (item {})", name_of(type_of(*key)), out.size()));
    }
    out.emplace_back(std::move(*key), &item);
  }
  return out;
}

Result<Json> extreme_by(const Arguments& arguments, const Apply& apply, bool largest) {
  auto all = keyed(largest ? "max_by" : "min_by", arguments[0].value, *arguments[1].reference, apply);
  if (!all) return all.error();
  if (all->empty()) return Json(nullptr);
  const auto before = [](const Keyed& left, const Keyed& right) { return less(left.first, right.first); };
  const auto found =
      largest ? std::max_element(all->begin(), all->end(), before) : std::min_element(all->begin(), all->end(), before);
  return Json(*found->second);
}

Result<Json> sorted_by(const Arguments& arguments, const Apply& apply) {
  auto all = keyed("sort_by", arguments[0].value, *arguments[1].reference, apply);
  if (!all) return all.error();
  std::stable_sort(all->begin(), all->end(),
                   [](const Keyed& left, const Keyed& right) { return less(left.first, right.first); });
  Json out = Json::array();
  for (const Keyed& each : *all) out.push_back(*each.second);
  return out;
}

}  // namespace

struct Function {
  std::string name;
  std::vector<unsigned> parameters;
  std::function<Result<Json>(const Arguments&, const Apply&)> body;
  bool repeats = false;  // the last parameter, any number of times
};

namespace {

using Plain = std::function<Json(const Arguments&)>;

Function plain(const char* name, std::vector<unsigned> parameters, Plain body, bool repeats = false) {
  return Function{
      name, std::move(parameters),
      [body = std::move(body)](const Arguments& given, const Apply&) -> Result<Json> { return body(given); }, repeats};
}

// Of one value.
Function simple(const char* name, unsigned type, Json (*body)(const Json&)) {
  return plain(name, {type}, [body](const Arguments& given) { return body(given[0].value); });
}

std::vector<Function> all_functions() {
  const unsigned ordered = kNumbers | kStrings;
  const auto text = [](const Argument& argument) -> const std::string& {
    return argument.value.get_ref<const std::string&>();
  };
  return {
      simple("abs", kNumber, absolute),
      simple("avg", kNumbers, average),
      simple("ceil", kNumber, [](const Json& value) { return rounded(value, std::ceil); }),
      plain("contains", {kArray | kString, kAny},
            [](const Arguments& given) { return contains(given[0].value, given[1].value); }),
      plain("ends_with", {kString, kString},
            [text](const Arguments& given) { return Json(text(given[0]).ends_with(text(given[1]))); }),
      simple("floor", kNumber, [](const Json& value) { return rounded(value, std::floor); }),
      plain("join", {kString, kStrings}, [](const Arguments& given) { return joined(given[0].value, given[1].value); }),
      simple("keys", kObject, keys_of),
      simple("length", kString | kArray | kObject, length_of),
      {"map",
       {kReference, kArray},
       [](const Arguments& given, const Apply& apply) { return mapped(*given[0].reference, given[1].value, apply); }},
      simple("max", ordered, [](const Json& items) { return extreme(items, true); }),
      {"max_by",
       {kArray, kReference},
       [](const Arguments& given, const Apply& apply) { return extreme_by(given, apply, true); }},
      plain("merge", {kObject}, merged, true),
      simple("min", ordered, [](const Json& items) { return extreme(items, false); }),
      {"min_by",
       {kArray, kReference},
       [](const Arguments& given, const Apply& apply) { return extreme_by(given, apply, false); }},
      plain("not_null", {kAny}, first_that_is, true),
      simple("reverse", kArray | kString, reversed),
      simple("sort", ordered, in_order),
      {"sort_by", {kArray, kReference}, sorted_by},
      plain("starts_with", {kString, kString},
            [text](const Arguments& given) { return Json(text(given[0]).starts_with(text(given[1]))); }),
      simple("sum", kNumbers, sum),
      simple("to_array", kAny, [](const Json& value) { return value.is_array() ? value : Json::array({value}); }),
      simple("to_number", kAny, as_number),
      simple("to_string", kAny, as_text),
      simple("type", kAny, type_name),
      simple("values", kObject, values_of),
  };
}

const std::map<std::string, Function>& functions() {
  static const auto* const table = [] {
    auto* out = new std::map<std::string, Function>;
    for (Function& each : all_functions()) out->emplace(each.name, std::move(each));
    return out;
  }();
  return *table;
}

}  // namespace

std::size_t characters_in(const std::string& text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

bool truthy(const Json& value) {
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_string()) return !value.get_ref<const std::string&>().empty();
  return value.is_number() || !value.empty();
}

bool equal(const Json& left, const Json& right) {
  if (left.is_object() && right.is_object()) {
    if (left.size() != right.size()) return false;
    for (auto item = left.begin(); item != left.end(); ++item) {
      const auto found = right.find(item.key());
      if (found == right.end() || !equal(*item, *found)) return false;
    }
    return true;
  }
  if (left.is_array() && right.is_array())
    return std::equal(left.begin(), left.end(), right.begin(), right.end(), equal);
  return left == right;
}

const Function* find_function(const std::string& name) {
  const auto found = functions().find(name);
  return found == functions().end() ? nullptr : &found->second;
}

std::vector<std::string> function_names() {
  std::vector<std::string> names;
  for (const auto& [name, function] : functions()) names.push_back(name);
  return names;
}

std::optional<std::string> arity_fault(const Function& function, std::size_t given) {
  const std::size_t needed = function.parameters.size();
  if (given == needed || (function.repeats && given > needed)) return std::nullopt;
  return fmt::format("{}() takes {}{} argument{}, got {}", function.name, function.repeats ? "at least " : "", needed,
                     needed == 1 ? "" : "s", given);
}

Result<Json> call(const Function& function, const std::vector<Argument>& arguments, const Apply& apply) {
  for (std::size_t at = 0; at < arguments.size(); ++at) {
    const unsigned types = function.parameters[std::min(at, function.parameters.size() - 1)];
    if (fits(arguments[at], types)) continue;
    const bool reference = arguments[at].reference != nullptr;
    std::string found = name_of(reference ? kReference : type_of(arguments[at].value));
    if (!reference && arguments[at].value.is_array()) found += " with other things in it";
    return wrong_type(function.name, fmt::format("argument {}", at + 1), types == kAny ? "a value" : name_of(types),
                      found);
  }
  return function.body(arguments, apply);
}

}  // namespace trainyard::cli::jmespath
