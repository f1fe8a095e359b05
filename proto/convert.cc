#include "proto/convert.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "common/model_json.h"

namespace trainyard {
namespace {

Error invalid(std::string_view field, std::string_view text) {
  return {Code::invalid_argument, fmt::format("{}: {}", field, text)};
}

const char* provisioning(bool deleting) {
  return deleting ? "deleting" : "succeeded";
}

Status check_short(std::string_view field, const std::string& text, std::size_t limit) {
  if (text.size() > limit) return invalid(field, fmt::format("is longer than {} characters", limit));
  if (text.find('\0') != text.npos) return invalid(field, "must not contain NUL");
  return {};
}

}  // namespace

void set_time(TimeMs time_ms, google::protobuf::Timestamp& message) {
  message.set_seconds(time_ms / 1000);
  message.set_nanos(static_cast<std::int32_t>(time_ms % 1000) * 1'000'000);
}

TimeMs from_proto(const google::protobuf::Timestamp& message) {
  return message.seconds() * 1000 + message.nanos() / 1'000'000;
}

void set_duration(DurationMs duration_ms, google::protobuf::Duration& message) {
  message.set_seconds(duration_ms / 1000);
  message.set_nanos(static_cast<std::int32_t>(duration_ms % 1000) * 1'000'000);
}

DurationMs from_proto(const google::protobuf::Duration& message) {
  constexpr std::int64_t kLimit = std::numeric_limits<std::int64_t>::max() / 2000;
  const std::int64_t seconds = std::clamp(message.seconds(), -kLimit, kLimit);
  return seconds * 1000 + message.nanos() / 1'000'000;
}

Status check_location(const std::string& location) {
  return check_short("location", location, 64);
}

Result<core::Tags> tags_from_proto(const google::protobuf::Map<std::string, std::string>& tags) {
  if (tags.size() > 50) return invalid("tags", fmt::format("has {} entries; at most 50 are allowed", tags.size()));
  core::Tags out;
  for (const auto& [name, value] : tags) {
    if (name.empty()) return invalid("tags", "a tag has no name");
    if (const Status status = check_short("tags", name, 512); !status) return status.error();
    if (const Status status = check_short("tags." + name, value, 256); !status) return status.error();
    out[name] = value;
  }
  return out;
}

void to_proto(const core::Group& row, v1::Group& message) {
  message.set_name(row.name);
  message.set_location(row.location);
  message.mutable_tags()->insert(row.tags.begin(), row.tags.end());
  message.set_provisioning_state(provisioning(row.deleting));
  set_time(row.created_ms, *message.mutable_creation_time());
}

void to_proto(const core::Workspace& row, const std::string& group, v1::Workspace& message) {
  message.set_resource_group(group);
  message.set_name(row.name);
  message.set_location(row.location);
  message.mutable_tags()->insert(row.tags.begin(), row.tags.end());
  message.set_provisioning_state(provisioning(row.deleting));
  set_time(row.created_ms, *message.mutable_creation_time());
  message.set_id(arm_id(core::WorkspaceRef{group, row.name}));
}

void to_proto(const core::Experiment& row, const core::WorkspaceRef& home, v1::Experiment& message) {
  message.set_resource_group(home.group);
  message.set_workspace(home.workspace);
  message.set_name(row.name);
  message.set_provisioning_state(provisioning(row.deleting));
  set_time(row.created_ms, *message.mutable_creation_time());
  message.set_id(arm_id(core::ExperimentRef{home.group, home.workspace, row.name}));
}

void to_proto(const core::Account& row, const std::string& group, v1::Account& message) {
  message.set_name(row.name);
  message.set_resource_group(group);
  message.set_location(row.location);
  message.set_sku(row.sku);
  set_time(row.created_ms, *message.mutable_creation_time());
}

void to_proto(const core::Share& row, const std::string& account, v1::Share& message) {
  message.set_account(account);
  message.set_name(row.name);
  set_time(row.created_ms, *message.mutable_creation_time());
}

}  // namespace trainyard
