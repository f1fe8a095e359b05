#include "agent/exec/exec_frames.h"

#include <cstdint>
#include <nlohmann/json.hpp>

namespace trainyard::agent {
namespace {

constexpr std::size_t kHeadBytes = 5;

}  // namespace

std::string frame(Frame::Kind kind, std::string_view data) {
  const auto size = static_cast<std::uint32_t>(data.size());
  std::string out(1, kind);
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(size >> shift & 0xff);
  out += data;
  return out;
}

std::optional<Frame> FrameReader::next() {
  if (x_broken || x_bytes.size() - x_at < kHeadBytes) return std::nullopt;
  std::size_t size = 0;
  for (std::size_t i = 1; i < kHeadBytes; ++i) size = size << 8 | static_cast<unsigned char>(x_bytes[x_at + i]);
  if (size > kMostFrameBytes) {
    x_broken = true;
    return std::nullopt;
  }
  if (x_bytes.size() - x_at < kHeadBytes + size) {
    x_bytes.erase(0, x_at);
    x_at = 0;
    return std::nullopt;
  }
  Frame found{x_bytes[x_at], x_bytes.substr(x_at + kHeadBytes, size)};
  x_at += kHeadBytes + size;
  if (x_at == x_bytes.size()) {
    x_bytes.clear();
    x_at = 0;
  }
  return found;
}

std::string to_text(const ExecSpec& spec) {
  nlohmann::json environment = nlohmann::json::array();
  for (const NamedValue& variable : spec.process.environment) environment.push_back({variable.name, variable.value});
  const nlohmann::json value{{"argv", spec.process.argv},
                             {"environment", environment},
                             {"working_directory", spec.process.working_directory},
                             {"cgroup", spec.process.cgroup},
                             {"limit_groups", spec.process.limit_groups},
                             {"cores", spec.process.cores},
                             {"uid", spec.process.uid},
                             {"gid", spec.process.gid},
                             {"groups", spec.process.groups},
                             {"sandbox", spec.process.sandbox},
                             {"confine", spec.process.confine},
                             {"terminal", spec.terminal},
                             {"rows", spec.rows},
                             {"columns", spec.columns}};
  // CBOR keeps bytes that are no UTF-8, as a path or a variable may have.
  const std::vector<std::uint8_t> bytes = nlohmann::json::to_cbor(value);
  return std::string(bytes.begin(), bytes.end());
}

Result<ExecSpec> exec_spec_from(const std::string& text) {
  try {
    const auto value = nlohmann::json::from_cbor(text.begin(), text.end());
    ExecSpec spec;
    spec.process.argv = value.at("argv").get<std::vector<std::string>>();
    for (const auto& variable : value.at("environment")) {
      spec.process.environment.push_back({variable.at(0).get<std::string>(), variable.at(1).get<std::string>()});
    }
    spec.process.working_directory = value.at("working_directory").get<std::string>();
    spec.process.cgroup = value.at("cgroup").get<std::string>();
    value.at("limit_groups").get_to(spec.process.limit_groups);
    spec.process.cores = value.value("cores", std::string());
    spec.process.uid = value.at("uid").get<std::uint32_t>();
    spec.process.gid = value.at("gid").get<std::uint32_t>();
    value.at("groups").get_to(spec.process.groups);
    value.at("sandbox").get_to(spec.process.sandbox);
    value.at("confine").get_to(spec.process.confine);
    spec.terminal = value.at("terminal").get<bool>();
    spec.rows = value.at("rows").get<unsigned>();
    spec.columns = value.at("columns").get<unsigned>();
    if (spec.process.argv.empty()) return Error{Code::invalid_argument, "the order has no command"};
    return spec;
  } catch (const nlohmann::json::exception& error) {
    return Error{Code::invalid_argument, std::string("the order cannot be read: ") + error.what()};
  }
}

}  // namespace trainyard::agent
