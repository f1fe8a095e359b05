#include "proto/convert.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

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

Result<core::FileServerSpec> from_proto(const v1::FileServerSpec& message) {
  const auto one_of = [](std::string_view field, const std::string& text, std::initializer_list<const char*> names,
                         std::string& into) -> Status {
    for (const char* name : names) {
      if (equal_ignoring_case(text, name)) {
        into = name;
        return {};
      }
    }
    return invalid(field, fmt::format("is '{}', must be one of {}", text, fmt::join(names, ", ")));
  };
  const auto count = [](std::string_view field, std::int32_t value, std::int32_t most) -> Status {
    if (value >= 1 && value <= most) return {};
    return invalid(field, fmt::format("must be 1 to {}, got {}", most, value));
  };
  core::FileServerSpec spec;
  const Status checks[] = {
      message.vm_size().empty() ? Status(invalid("properties.vmSize", "is missing"))
                                : check_name("properties.vmSize", message.vm_size()),
      count("properties.dataDisks.diskSizeInGB", message.disk_size_in_gb(), 1'000'000),
      count("properties.dataDisks.diskCount", message.disk_count(), 1'000),
      one_of("properties.dataDisks.storageAccountType", message.storage_account_type(), {"Standard_LRS", "Premium_LRS"},
             spec.storage_account_type),
      one_of("properties.dataDisks.cachingType", message.caching_type().empty() ? "none" : message.caching_type(),
             {"none", "readonly", "readwrite"}, spec.caching_type),
      check_short("properties.sshConfiguration.userAccountSettings.adminUserName", message.admin_user_name(), 64),
      check_short("properties.sshConfiguration.userAccountSettings.adminUserSshPublicKey",
                  message.admin_user_ssh_public_key(), 16'384)};
  for (const Status& check : checks) {
    if (!check) return check.error();
  }
  spec.vm_size = message.vm_size();
  spec.disk_size_gb = static_cast<std::uint32_t>(message.disk_size_in_gb());
  spec.disk_count = static_cast<std::uint32_t>(message.disk_count());
  spec.admin_user_name = message.admin_user_name();
  spec.admin_user_ssh_public_key = message.admin_user_ssh_public_key();
  return spec;
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
  message.mutable_quota()->set_limit(row.quota.limit);
  message.mutable_quota()->set_guaranteed(row.quota.guaranteed);
  message.mutable_quota()->set_weight(row.quota.weight);
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
  message.set_provisioning_state(row.deleting ? "deleting" : "succeeded");
  set_time(row.created_ms, *message.mutable_creation_time());
}

void to_proto(const core::FileServerView& view, v1::FileServer& message) {
  const core::FileServer& row = view.row;
  message.set_resource_group(view.group);
  message.set_workspace(view.workspace);
  message.set_name(row.name);
  v1::FileServerSpec& spec = *message.mutable_spec();
  spec.set_vm_size(row.spec.vm_size);
  spec.set_disk_size_in_gb(static_cast<std::int32_t>(row.spec.disk_size_gb));
  spec.set_disk_count(static_cast<std::int32_t>(row.spec.disk_count));
  spec.set_storage_account_type(row.spec.storage_account_type);
  spec.set_caching_type(row.spec.caching_type);
  spec.set_admin_user_name(row.spec.admin_user_name);
  spec.set_admin_user_ssh_public_key(row.spec.admin_user_ssh_public_key);
  message.set_mount_point(row.export_path);
  message.set_file_server_internal_ip(row.address);
  message.set_port(static_cast<std::int32_t>(row.port));
  message.set_node(row.node);
  message.set_provisioning_state(view.provisioning_state);
  message.set_reason(view.reason);
  set_time(row.created_ms, *message.mutable_creation_time());
  // Rows of before it was kept were made at once.
  set_time(row.state_changed_ms != 0 ? row.state_changed_ms : row.created_ms,
           *message.mutable_provisioning_state_transition_time());
  message.set_id(arm_id(core::FileServerRef{view.group, view.workspace, row.name}));
}

}  // namespace trainyard
