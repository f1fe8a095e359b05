#include "cli/show.h"

#include <fmt/format.h>
#include <google/protobuf/util/time_util.h>

#include <algorithm>
#include <cctype>

#include "cli/show_parts.h"
#include "common/time.h"

namespace trainyard::cli {

using google::protobuf::Timestamp;
using google::protobuf::util::TimeUtil;

Json when(bool set, const Timestamp& time) {
  return set ? Json(iso8601(TimeUtil::TimestampToMilliseconds(time))) : Json(nullptr);
}

Json file_servers_of(const google::protobuf::RepeatedPtrField<v1::FileServerMount>& mounts) {
  Json list = Json::array();
  for (const v1::FileServerMount& mount : mounts) {
    list.push_back({{"fileServer", {{"id", mount.file_server()}}},
                    {"mountOptions", or_null(mount.mount_options())},
                    {"relativeMountPath", mount.relative_mount_path()},
                    {"sourceDirectory", or_null(mount.source_directory())}});
  }
  return null_if_empty(std::move(list));
}

Json unmanaged_of(const google::protobuf::RepeatedPtrField<v1::UnmanagedFileSystem>& mounts) {
  Json list = Json::array();
  for (const v1::UnmanagedFileSystem& mount : mounts) {
    list.push_back({{"mountCommand", mount.mount_command()}, {"relativeMountPath", mount.relative_mount_path()}});
  }
  return null_if_empty(std::move(list));
}

Json null_if_empty(Json value) {
  return value.empty() ? Json(nullptr) : value;
}

Json secret_names(const google::protobuf::RepeatedPtrField<v1::NamedValue>& secrets) {
  Json out = Json::array();
  for (const auto& secret : secrets) out.push_back({{"name", secret.name()}, {"value", nullptr}});
  return out;
}

Json or_null(const std::string& text) {
  return text.empty() ? Json(nullptr) : Json(text);
}

Json sorted(const Json& object) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : object.items()) keys.push_back(key);
  std::sort(keys.begin(), keys.end());
  Json out = Json::object();
  for (const std::string& key : keys) out[key] = object[key];
  return out;
}

std::string arm_id(const std::string& group, const std::string& workspace) {
  return fmt::format("/subscriptions/trainyard/resourceGroups/{}/providers/Microsoft.BatchAI/workspaces/{}", group,
                     workspace);
}

std::string state_of(const std::string& provisioning, const std::string& state) {
  return provisioning == "deleting" ? provisioning : state;
}

namespace {

template <class Map>
Json tags_of(const Map& tags) {
  Json out = Json::object();
  for (const auto& [name, value] : tags) out[name] = value;
  return out.empty() ? Json(nullptr) : sorted(out);
}

std::vector<std::string> split(const std::string& text, char by) {
  std::vector<std::string> parts;
  std::size_t from = 0;
  for (std::size_t at = text.find(by); at != std::string::npos; at = text.find(by, from)) {
    parts.push_back(text.substr(from, at - from));
    from = at + 1;
  }
  parts.push_back(text.substr(from));
  return parts;
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

}  // namespace

std::string spoken_duration(long long seconds) {
  const long long days = seconds / 86400, rest = seconds % 86400;
  const std::string clock = fmt::format("{}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60);
  if (days == 0) return clock;
  return fmt::format("{} day{}, {}", days, days == 1 ? "" : "s", clock);
}

std::string ClusterPlace::id() const {
  return arm_id(group, workspace) + "/clusters/" + name;
}

ClusterPlace cluster_of(const v1::Job& job) {
  ClusterPlace place{job.resource_group(), job.workspace(), job.spec().cluster()};
  const std::vector<std::string> parts = split(job.spec().cluster(), '/');
  if (place.name.starts_with('/')) {
    for (std::size_t at = 0; at + 1 < parts.size(); ++at) {
      const std::string key = lower(parts[at]);
      if (key == "resourcegroups") place.group = parts[at + 1];
      if (key == "workspaces") place.workspace = parts[at + 1];
      if (key == "clusters") place.name = parts[at + 1];
    }
  } else if (parts.size() == 3) {
    place = ClusterPlace{parts[0], parts[1], parts[2]};
  }
  return place;
}

std::vector<std::string> Kind<v1::Group>::columns() {
  return {"Name", "Location", "Status"};
}
Json Kind<v1::Group>::json(const v1::Group& item) {
  Json out;
  out["creationTime"] = when(item.has_creation_time(), item.creation_time());
  out["id"] = "/subscriptions/trainyard/resourceGroups/" + item.name();
  out["location"] = or_null(item.location());
  out["name"] = item.name();
  out["properties"] = {{"provisioningState", item.provisioning_state()}};
  out["tags"] = tags_of(item.tags());
  return out;
}
Row Kind<v1::Group>::row(const v1::Group& item) {
  return {item.name(), item.location(), item.provisioning_state()};
}

std::vector<std::string> Kind<v1::Workspace>::columns() {
  return {"Name", "Resource Group", "Location", "State"};
}
Json Kind<v1::Workspace>::json(const v1::Workspace& item) {
  Json out;
  out["creationTime"] = when(item.has_creation_time(), item.creation_time());
  out["id"] = item.id().empty() ? arm_id(item.resource_group(), item.name()) : item.id();
  out["location"] = or_null(item.location());
  out["name"] = item.name();
  out["provisioningState"] = item.provisioning_state();
  out["provisioningStateTransitionTime"] = provisioned_at(item);
  out["quota"] = {{"guaranteed", item.quota().guaranteed()},
                  {"limit", item.quota().limit() == 0 ? Json(nullptr) : Json(item.quota().limit())},
                  {"used", item.gpus()},
                  {"weight", item.quota().weight()}};
  out["resourceGroup"] = item.resource_group();
  out["tags"] = tags_of(item.tags());
  out["type"] = "Microsoft.BatchAI/workspaces";
  return out;
}
Row Kind<v1::Workspace>::row(const v1::Workspace& item) {
  return {item.name(), item.resource_group(), item.location(), item.provisioning_state()};
}

std::vector<std::string> Kind<v1::Reservation>::columns() {
  return {"Name", "Nodes", "From", "Until", "For", "Why"};
}
Json Kind<v1::Reservation>::json(const v1::Reservation& item) {
  Json out;
  out["from"] = when(item.has_from(), item.from());
  out["name"] = item.name();
  out["nodes"] = Json(std::vector<std::string>(item.nodes().begin(), item.nodes().end()));
  out["until"] = when(item.has_until(), item.until());
  out["who"] = or_null(item.who());
  out["why"] = or_null(item.why());
  out["workspace"] = item.workspace().empty() ? Json(nullptr) : Json(item.resource_group() + "/" + item.workspace());
  return out;
}
Row Kind<v1::Reservation>::row(const v1::Reservation& item) {
  std::string nodes;
  for (const std::string& node : item.nodes()) nodes += (nodes.empty() ? "" : " ") + node;
  const auto text = [](bool set, const google::protobuf::Timestamp& time) {
    const Json shown = when(set, time);
    return shown.is_string() ? shown.get<std::string>() : std::string();
  };
  return {item.name(),
          nodes,
          text(item.has_from(), item.from()),
          text(item.has_until(), item.until()),
          item.workspace().empty() ? "nobody" : item.resource_group() + "/" + item.workspace(),
          item.why()};
}

std::vector<std::string> Kind<v1::Experiment>::columns() {
  return {"Name", "Resource Group", "Workspace", "State"};
}
Json Kind<v1::Experiment>::json(const v1::Experiment& item) {
  const std::string id = arm_id(item.resource_group(), item.workspace()) + "/experiments/" + item.name();
  Json out;
  out["creationTime"] = when(item.has_creation_time(), item.creation_time());
  out["id"] = item.id().empty() ? id : item.id();
  out["name"] = item.name();
  out["provisioningState"] = item.provisioning_state();
  out["provisioningStateTransitionTime"] = provisioned_at(item);
  out["resourceGroup"] = item.resource_group();
  out["type"] = "Microsoft.BatchAI/workspaces/experiments";
  out["workspace"] = item.workspace();
  return out;
}
Row Kind<v1::Experiment>::row(const v1::Experiment& item) {
  return {item.name(), item.resource_group(), item.workspace(), item.provisioning_state()};
}

std::vector<std::string> Kind<v1::FileServer>::columns() {
  return {"Name", "Resource Group", "Size", "Disks", "Public IP", "Internal IP", "Mount Point"};
}
Json Kind<v1::FileServer>::json(const v1::FileServer& item) {
  const v1::FileServerSpec& spec = item.spec();
  Json out;
  out["creationTime"] = when(item.has_creation_time(), item.creation_time());
  out["dataDisks"] = {{"cachingType", spec.caching_type()},
                      {"diskCount", spec.disk_count()},
                      {"diskSizeInGb", spec.disk_size_in_gb()},
                      {"storageAccountType", spec.storage_account_type()}};
  out["id"] = item.id();
  out["mountSettings"] = nullptr;  // until it serves
  if (!item.file_server_internal_ip().empty()) {
    out["mountSettings"] = {{"fileServerInternalIp", item.file_server_internal_ip()},
                            {"fileServerPublicIp", nullptr},
                            {"mountPoint", item.mount_point()},
                            {"port", item.port() == 0 ? Json(nullptr) : Json(item.port())}};
  }
  out["name"] = item.name();
  out["node"] = or_null(item.node());
  out["provisioningState"] = item.provisioning_state();
  out["provisioningStateTransitionTime"] =
      when(item.has_provisioning_state_transition_time(), item.provisioning_state_transition_time());
  out["reason"] = or_null(item.reason());
  out["resourceGroup"] = item.resource_group();
  out["sshConfiguration"] = {{"publicIpsToAllow", nullptr},
                             {"userAccountSettings",
                              {{"adminUserName", or_null(spec.admin_user_name())},
                               {"adminUserPassword", nullptr},
                               {"adminUserSshPublicKey", or_null(spec.admin_user_ssh_public_key())}}}};
  out["subnet"] = nullptr;
  out["type"] = "Microsoft.BatchAI/workspaces/fileservers";
  out["vmSize"] = spec.vm_size();
  return out;
}
Row Kind<v1::FileServer>::row(const v1::FileServer& item) {
  const std::string disks =
      std::to_string(item.spec().disk_count()) + " x " + std::to_string(item.spec().disk_size_in_gb()) + " Gb";
  return {item.name(), item.resource_group(),          item.spec().vm_size(), disks,
          "",          item.file_server_internal_ip(), item.mount_point()};
}

std::vector<std::string> Kind<v1::Usage>::columns() {
  return {"Value", "Usage", "Limit"};
}
Json Kind<v1::Usage>::json(const v1::Usage& item) {
  Json out;
  out["currentValue"] = item.current_value();
  out["limit"] = item.has_limit() ? Json(item.limit()) : Json(nullptr);
  out["name"] = {{"localizedValue", item.name()}, {"value", item.name()}};
  out["unit"] = item.unit();
  return out;
}
Row Kind<v1::Usage>::row(const v1::Usage& item) {
  return {item.name(), std::to_string(item.current_value()), item.has_limit() ? std::to_string(item.limit()) : ""};
}

std::vector<std::string> Kind<v1::FileEntry>::columns() {
  return {"Name", "Type", "Size", "Modified"};
}
Json Kind<v1::FileEntry>::json(const v1::FileEntry& item) {
  Json out;
  out["contentLength"] = item.is_directory() ? Json(nullptr) : Json(item.size());
  out["downloadUrl"] = nullptr;
  out["fileType"] = item.is_directory() ? "directory" : "file";
  out["lastModified"] = when(item.has_modified(), item.modified());
  out["name"] = item.name();
  return out;
}
Row Kind<v1::FileEntry>::row(const v1::FileEntry& item) {
  const Json modified = when(item.has_modified(), item.modified());
  return {item.name(), item.is_directory() ? "directory" : "file",
          item.is_directory() ? "" : std::to_string(item.size()),
          modified.is_null() ? "" : modified.get<std::string>()};
}

std::vector<std::string> Kind<v1::TimelineLine>::columns() {
  return {"Time", "Who", "What", "Why"};
}
Json Kind<v1::TimelineLine>::json(const v1::TimelineLine& item) {
  Json out;
  out["sequence"] = item.sequence();
  out["time"] = when(item.has_time(), item.time());
  out["what"] = item.what();
  out["who"] = item.who();
  out["why"] = item.why();
  return out;
}
Row Kind<v1::TimelineLine>::row(const v1::TimelineLine& item) {
  const Json time = when(item.has_time(), item.time());
  return {time.is_null() ? "" : time.get<std::string>(), item.who(), item.what(), item.why()};
}

std::vector<std::string> Kind<v1::Account>::columns() {
  return {"Name", "Resource Group", "Location", "Sku"};
}
Json Kind<v1::Account>::json(const v1::Account& item) {
  Json out;
  out["creationTime"] = when(item.has_creation_time(), item.creation_time());
  out["location"] = or_null(item.location());
  out["name"] = item.name();
  out["provisioningState"] = "Succeeded";
  out["resourceGroup"] = item.resource_group();
  out["sku"] = {{"name", or_null(item.sku())}};
  return out;
}
Row Kind<v1::Account>::row(const v1::Account& item) {
  return {item.name(), item.resource_group(), item.location(), item.sku()};
}

std::vector<std::string> Kind<v1::Share>::columns() {
  return {"Name", "Account", "State"};
}
Json Kind<v1::Share>::json(const v1::Share& item) {
  Json out;
  out["account"] = item.account();
  out["creationTime"] = when(item.has_creation_time(), item.creation_time());
  out["name"] = item.name();
  out["provisioningState"] = item.provisioning_state();
  return out;
}
Row Kind<v1::Share>::row(const v1::Share& item) {
  return {item.name(), item.account(), item.provisioning_state()};
}

}  // namespace trainyard::cli
