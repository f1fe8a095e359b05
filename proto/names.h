// The rules for names, paths and ARM-style ids that users write, and how they are checked. Pure; any thread.
// Every message starts with the field in the terms of the API's JSON ("properties.nodeCount: ...").
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"
#include "controller/core/event.h"

namespace trainyard {

// ^[-\w]{1,64}$
Status check_name(std::string_view field, std::string_view name);
// The same and '.', up to 90 characters; not "." or "..".
Status check_group_name(std::string_view field, std::string_view name);
// A reason that people give: at most 1,000 bytes in one line; may be empty.
Status check_why(std::string_view field, std::string_view why);
// At most 128 printable characters; empty: the call is not repeatable.
Status check_request_id(std::string_view id);
// Relative, no "..", no NUL, at most 4,096 bytes; "" and "." mean the root itself when `may_be_root`.
// The answer is the path without "." and empty parts.
Result<std::string> clean_path(std::string_view field, std::string_view path, bool may_be_root);

std::string arm_id(const core::WorkspaceRef& ref);
std::string arm_id(const core::ExperimentRef& ref);
std::string arm_id(const core::ClusterRef& ref);
std::string arm_id(const core::JobRef& ref);
std::string arm_id(const core::FileServerRef& ref);
std::string array_arm_id(const core::JobRef& ref);     // of a job array
std::string schedule_arm_id(const core::JobRef& ref);  // of a job schedule

// A plain name (in `home`), "group/workspace/cluster", or an ARM id of a cluster.
Result<core::ClusterRef> parse_cluster(std::string_view field, const std::string& text, const core::WorkspaceRef& home);

// The same of a file server.
Result<core::FileServerRef> parse_file_server(std::string_view field, const std::string& text,
                                              const core::WorkspaceRef& home);

struct ShareUrl {
  std::string account, share;
};
// https://ACCOUNT.file.core.windows.net/SHARE
Result<ShareUrl> parse_share_url(std::string_view field, const std::string& url);

std::vector<std::string_view> split(std::string_view text, char separator);
bool equal_ignoring_case(std::string_view left, std::string_view right);

}  // namespace trainyard
