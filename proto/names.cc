#include "proto/names.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace trainyard {
namespace {

constexpr std::string_view kArmRoot = "/subscriptions/trainyard/resourceGroups/";
constexpr std::string_view kProvider = "/providers/Microsoft.BatchAI/workspaces/";
constexpr std::string_view kStorageHost = ".file.core.windows.net";
constexpr std::size_t kMaxPath = 4096;

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

// What was given, cut and with control characters replaced, so that a message stays one readable line.
std::string shown(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, 100)) out += static_cast<unsigned char>(c) < 32 || c == 127 ? '?' : c;
  return text.size() > 100 ? out + "..." : out;
}

Error invalid(std::string_view field, std::string_view text) {
  return {Code::invalid_argument, fmt::format("{}: {}", field, text)};
}

}  // namespace

Status check_name(std::string_view field, std::string_view name) {
  if (name.empty()) return invalid(field, "is missing");
  if (name.size() > 64 || !std::all_of(name.begin(), name.end(), is_word)) {
    return invalid(field, fmt::format("\"{}\" is not a name: use 1 to 64 letters, digits, '-' and '_'", shown(name)));
  }
  return {};
}

Status check_group_name(std::string_view field, std::string_view name) {
  if (name.empty()) return invalid(field, "is missing");
  const auto allowed = [](char c) { return is_word(c) || c == '.'; };
  if (name.size() > 90 || name == "." || name == ".." || !std::all_of(name.begin(), name.end(), allowed)) {
    return invalid(field,
                   fmt::format("\"{}\" is not a name: use 1 to 90 letters, digits, '-', '_' and '.'", shown(name)));
  }
  return {};
}

Status check_why(std::string_view field, std::string_view why) {
  constexpr std::size_t kMost = 1'000;
  if (why.size() > kMost) return invalid(field, fmt::format("has {} bytes; at most {} are kept", why.size(), kMost));
  if (std::any_of(why.begin(), why.end(), [](char c) { return static_cast<unsigned char>(c) < 32 || c == 127; })) {
    return invalid(field, "must be one line without control characters");
  }
  return {};
}

Status check_request_id(std::string_view id) {
  if (id.size() > 128) return invalid("requestId", fmt::format("has {} characters; at most 128 are kept", id.size()));
  if (std::any_of(id.begin(), id.end(), [](char c) { return static_cast<unsigned char>(c) < 32 || c == 127; })) {
    return invalid("requestId", "must hold printable characters only");
  }
  return {};
}

Result<std::string> clean_path(std::string_view field, std::string_view path, bool may_be_root) {
  if (path.size() > kMaxPath) return invalid(field, fmt::format("is longer than {} bytes", kMaxPath));
  if (path.find('\0') != path.npos) return invalid(field, "must not contain NUL");
  if (!path.empty() && path.front() == '/') {
    return invalid(field, fmt::format("\"{}\" must be relative", shown(path)));
  }
  std::string clean;
  for (const std::string_view part : split(path, '/')) {
    if (part.empty() || part == ".") continue;
    if (part == "..") return invalid(field, fmt::format("\"{}\" must not contain \"..\"", shown(path)));
    if (!clean.empty()) clean += '/';
    clean += part;
  }
  if (clean.empty() && !may_be_root) return invalid(field, "is missing");
  return clean;
}

std::string arm_id(const core::WorkspaceRef& ref) {
  return fmt::format("{}{}{}{}", kArmRoot, ref.group, kProvider, ref.workspace);
}
std::string arm_id(const core::ExperimentRef& ref) {
  return fmt::format("{}/experiments/{}", arm_id(core::WorkspaceRef{ref.group, ref.workspace}), ref.experiment);
}
std::string arm_id(const core::ClusterRef& ref) {
  return fmt::format("{}/clusters/{}", arm_id(core::WorkspaceRef{ref.group, ref.workspace}), ref.cluster);
}
std::string arm_id(const core::JobRef& ref) {
  return fmt::format("{}/jobs/{}", arm_id(core::ExperimentRef{ref.group, ref.workspace, ref.experiment}), ref.job);
}

std::string array_arm_id(const core::JobRef& ref) {
  return fmt::format("{}/jobArrays/{}", arm_id(core::ExperimentRef{ref.group, ref.workspace, ref.experiment}), ref.job);
}
std::string schedule_arm_id(const core::JobRef& ref) {
  return fmt::format("{}/jobSchedules/{}", arm_id(core::ExperimentRef{ref.group, ref.workspace, ref.experiment}),
                     ref.job);
}

std::string arm_id(const core::FileServerRef& ref) {
  return fmt::format("{}/fileservers/{}", arm_id(core::WorkspaceRef{ref.group, ref.workspace}), ref.file_server);
}

namespace {

// A thing of a workspace: a plain name (in `home`), group/workspace/name, or an ARM id with `collection` in it.
Result<std::array<std::string, 3>> parse_in_workspace(std::string_view field, const std::string& text,
                                                      const core::WorkspaceRef& home, const char* what,
                                                      const char* collection, const char* command) {
  if (text.empty()) return invalid(field, fmt::format("is missing: give the {}'s name", what));
  const auto parts = split(text, '/');
  std::array<std::string, 3> ref;
  if (parts.size() == 1) {
    ref = {home.group, home.workspace, text};
  } else if (parts.size() == 3 && !parts[0].empty()) {
    ref = {std::string(parts[0]), std::string(parts[1]), std::string(parts[2])};
  } else if (parts.size() == 11 && parts[0].empty() && equal_ignoring_case(parts[1], "subscriptions") &&
             equal_ignoring_case(parts[3], "resourceGroups") && equal_ignoring_case(parts[5], "providers") &&
             equal_ignoring_case(parts[6], "Microsoft.BatchAI") && equal_ignoring_case(parts[7], "workspaces") &&
             equal_ignoring_case(parts[9], collection)) {
    ref = {std::string(parts[4]), std::string(parts[8]), std::string(parts[10])};
  } else {
    return invalid(field, fmt::format("\"{}\" is not a {}: give a name, group/workspace/name, or the id that "
                                      "`{} show` prints",
                                      shown(text), what, command));
  }
  for (const Status& status : {check_group_name(field, ref[0]), check_name(field, ref[1]), check_name(field, ref[2])}) {
    if (!status) return status.error();
  }
  return ref;
}

}  // namespace

Result<core::ClusterRef> parse_cluster(std::string_view field, const std::string& text,
                                       const core::WorkspaceRef& home) {
  auto parts = parse_in_workspace(field, text, home, "cluster", "clusters", "cluster");
  if (!parts) return parts.error();
  return core::ClusterRef{(*parts)[0], (*parts)[1], (*parts)[2]};
}

Result<core::FileServerRef> parse_file_server(std::string_view field, const std::string& text,
                                              const core::WorkspaceRef& home) {
  auto parts = parse_in_workspace(field, text, home, "file server", "fileServers", "file-server");
  if (!parts) return parts.error();
  return core::FileServerRef{(*parts)[0], (*parts)[1], (*parts)[2]};
}

Result<ShareUrl> parse_share_url(std::string_view field, const std::string& url) {
  if (url.empty()) return invalid(field, "is missing");
  if (url.find("<AZURE_BATCHAI_STORAGE_ACCOUNT>") != url.npos) {
    return invalid(field,
                   "still holds <AZURE_BATCHAI_STORAGE_ACCOUNT>: give the account's name with "
                   "--storage-account-name");
  }
  const Error malformed =
      invalid(field, fmt::format("\"{}\" must look like https://ACCOUNT.file.core.windows.net/SHARE", shown(url)));
  constexpr std::string_view kScheme = "https://";
  if (!url.starts_with(kScheme)) return malformed;
  const std::string_view rest = std::string_view(url).substr(kScheme.size());
  const auto slash = rest.find('/');
  if (slash == rest.npos) return malformed;
  const std::string_view host = rest.substr(0, slash);
  std::string_view share = rest.substr(slash + 1);
  if (share.ends_with('/')) share.remove_suffix(1);
  if (host.size() <= kStorageHost.size() ||
      !equal_ignoring_case(host.substr(host.size() - kStorageHost.size()), kStorageHost)) {
    return malformed;
  }
  const std::string_view account = host.substr(0, host.size() - kStorageHost.size());
  if (!check_name(field, account) || !check_name(field, share)) return malformed;
  return ShareUrl{std::string(account), std::string(share)};
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const auto at = text.find(separator);
    parts.push_back(text.substr(0, at));
    if (at == text.npos) return parts;
    text.remove_prefix(at + 1);
  }
}

bool equal_ignoring_case(std::string_view left, std::string_view right) {
  return std::equal(left.begin(), left.end(), right.begin(), right.end(),
                    [](char a, char b) { return lower(a) == lower(b); });
}

}  // namespace trainyard
