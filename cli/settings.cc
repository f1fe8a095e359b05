#include "cli/settings.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "cli/output.h"
#include "cli/suggest.h"

namespace trainyard::cli {
namespace {

constexpr const char* kSection = "[defaults]";

std::string trimmed(const std::string& text) {
  const auto first = text.find_first_not_of(" \t\r");
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

bool is_path(const std::string& name) {
  return name == "ca" || name == "cert" || name == "key";
}

std::string known_names() {
  std::string out;
  for (const Setting& each : all_settings()) out += (out.empty() ? "" : ", ") + std::string(each.name);
  return out;
}

// What is wrong with a value, in words; empty: nothing.
std::string value_fault(const std::string& name, const std::string& value) {
  constexpr std::size_t kLongest = 4096;
  if (value.empty()) return "";  // unset
  if (value.size() > kLongest) return "is too long";
  if (std::any_of(value.begin(), value.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; })) {
    return is_path(name) ? "must be the path of a file, on one line; secrets themselves are never kept"
                         : "must be on one line";
  }
  if (value.find("-----BEGIN") != std::string::npos) return "must be a file's path; secrets themselves are never kept";
  if (name == "output" && std::find(kOutputFormats.begin(), kOutputFormats.end(), value) == kOutputFormats.end()) {
    return fmt::format("must be {}, not \"{}\"", fmt::join(kOutputFormats, ", "), value);
  }
  const bool is_name = name == "group" || name == "workspace" || name == "experiment";
  const auto fine = [&](unsigned char c) { return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.'; };
  if (is_name && !std::all_of(value.begin(), value.end(), fine)) {
    return fmt::format("must be letters, digits, '-', '_' and '.', not \"{}\"", value);
  }
  return "";
}

std::string folder() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value == nullptr ? "" : value);
  };
  if (const std::string own = variable("TRAINYARD_CONFIG_DIR"); !own.empty()) return own;
  if (const std::string xdg = variable("XDG_CONFIG_HOME"); !xdg.empty()) return xdg + "/trainyard";
  const std::string home = variable("HOME");
  return home.empty() ? "" : home + "/.config/trainyard";
}

}  // namespace

const std::vector<Setting>& all_settings() {
  static const std::vector<Setting> settings = {
      {"group", "TRAINYARD_GROUP", "Resource group (-g)"},
      {"workspace", "TRAINYARD_WORKSPACE", "Workspace (-w)"},
      {"experiment", "TRAINYARD_EXPERIMENT", "Experiment (-e)"},
      {"controller", "TRAINYARD_CONTROLLER", "host:port of the controller"},
      {"ca", "TRAINYARD_CA", "Path of the operator's CA certificate"},
      {"cert", "TRAINYARD_CERT", "Path of your certificate"},
      {"key", "TRAINYARD_KEY", "Path of your certificate's key"},
      {"output", "TRAINYARD_OUTPUT", "Output format (-o)"},
  };
  return settings;
}

const Setting* find_setting(const std::string& name) {
  for (const Setting& each : all_settings()) {
    if (each.name == name) return &each;
  }
  return nullptr;
}

Settings Settings::parse(const std::string& text, const std::string& path) {
  Settings settings;
  settings.x_path = path;
  bool ours = false;
  for (std::size_t from = 0; from < text.size();) {
    const std::size_t end = std::min(text.find('\n', from), text.size());
    const std::string line = text.substr(from, end - from);
    from = end + 1;
    const std::size_t number = settings.x_lines.size();
    settings.x_lines.push_back(line);
    const std::string content = trimmed(line);
    if (content.empty() || content[0] == '#' || content[0] == ';') continue;
    const auto warn = [&](const std::string& what) {
      settings.x_warnings.push_back(fmt::format("{}:{}: {}; the line is ignored", path, number + 1, what));
    };
    if (content[0] == '[') {
      ours = content == kSection;
      if (!ours) warn(fmt::format("there is only the section {}", kSection));
      continue;
    }
    const auto equals = content.find('=');
    const std::string name = trimmed(content.substr(0, equals));
    if (equals == std::string::npos) {
      warn("is not NAME = VALUE");
    } else if (!ours) {
      warn(fmt::format("{} is not below {}", name, kSection));
    } else if (find_setting(name) == nullptr) {
      warn(fmt::format("there is no default {}; there are: {}", name, known_names()));
    } else if (const auto fault = value_fault(name, trimmed(content.substr(equals + 1))); !fault.empty()) {
      warn(name + " " + fault);
    } else {
      settings.x_line_of[name] = number;
      settings.x_values[name] = trimmed(content.substr(equals + 1));
    }
  }
  return settings;
}

std::string Settings::get(const std::string& name) const {
  const auto found = x_values.find(name);
  return found == x_values.end() ? "" : found->second;
}

Status Settings::set(const std::string& name, const std::string& given) {
  if (find_setting(name) == nullptr) {
    std::vector<std::string> names;
    for (const Setting& each : all_settings()) names.emplace_back(each.name);
    const std::string near = nearest(name, names);
    return Error{Code::invalid_argument, fmt::format("there is no default \"{}\"; {}there are: {}", name,
                                                     near.empty() ? "" : "did you mean " + near + "? ", known_names())};
  }
  std::string value = trimmed(given);
  if (const auto fault = value_fault(name, value); !fault.empty()) {
    return Error{Code::invalid_argument, name + " " + fault};
  }
  if (is_path(name) && !value.empty()) {
    std::error_code problem;
    value = std::filesystem::absolute(value, problem).lexically_normal().string();
    if (::access(value.c_str(), R_OK) != 0) {
      return Error{Code::invalid_argument,
                   fmt::format("{}: {} cannot be read: {}; check the path", name, value, std::strerror(errno))};
    }
  }
  x_values[name] = value;
  if (const auto known = x_line_of.find(name); known != x_line_of.end()) {
    x_lines[known->second] = name + " = " + value;
    return {};
  }
  auto section =
      std::find_if(x_lines.begin(), x_lines.end(), [](const auto& line) { return trimmed(line) == kSection; });
  if (section == x_lines.end()) section = x_lines.insert(x_lines.end(), kSection);
  const auto at = static_cast<std::size_t>(section - x_lines.begin()) + 1;
  x_lines.insert(x_lines.begin() + static_cast<std::ptrdiff_t>(at), name + " = " + value);
  for (auto& [other, line] : x_line_of) line += line >= at ? 1 : 0;
  x_line_of[name] = at;
  return {};
}

std::string Settings::text() const {
  std::string out;
  for (std::size_t at = 0; at < x_lines.size(); ++at) {
    const bool removed = std::any_of(x_line_of.begin(), x_line_of.end(),
                                     [&](const auto& item) { return item.second == at && get(item.first).empty(); });
    if (!removed) out += x_lines[at] + "\n";
  }
  return out;
}

const Settings& user_settings() {
  static const Settings settings = [] {
    const std::string path = folder().empty() ? "" : folder() + "/config";
    std::ifstream file(path, std::ios::binary);
    return Settings::parse(file ? std::string(std::istreambuf_iterator<char>(file), {}) : "", path);
  }();
  return settings;
}

Status save(const Settings& settings) {
  if (settings.path().empty()) {
    return Error{Code::failed_precondition, "no place for defaults: set HOME or TRAINYARD_CONFIG_DIR"};
  }
  const std::filesystem::path path(settings.path());
  const auto failed = [&](const std::string& why) {
    return Error{Code::failed_precondition, fmt::format("cannot write {}: {}", settings.path(), why)};
  };
  std::error_code problem;
  std::filesystem::create_directories(path.parent_path(), problem);
  if (problem) return failed(problem.message());
  const std::string beside = fmt::format("{}.{}", settings.path(), getpid());
  const mode_t before = ::umask(077);
  std::ofstream file(beside, std::ios::binary | std::ios::trunc);
  ::umask(before);
  file << settings.text();
  file.close();
  if (!file || std::rename(beside.c_str(), settings.path().c_str()) != 0) {
    const std::string why = std::strerror(errno);
    std::remove(beside.c_str());
    return failed(why);
  }
  return {};
}

}  // namespace trainyard::cli
