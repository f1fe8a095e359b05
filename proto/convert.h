// Groups, workspaces, experiments and storage between the API's messages and our structs; also the
// small helpers of all conversions. Pure; any thread.
#pragma once

#include <google/protobuf/duration.pb.h>
#include <google/protobuf/timestamp.pb.h>

#include "common/result.h"
#include "controller/core/event.h"
#include "controller/core/view.h"
#include "proto/array_convert.h"
#include "proto/cluster_convert.h"
#include "proto/job_convert.h"
#include "proto/names.h"
#include "proto/schedule_convert.h"
#include "trainyard/v1/experiments.pb.h"
#include "trainyard/v1/file_servers.pb.h"
#include "trainyard/v1/groups.pb.h"
#include "trainyard/v1/volumes.pb.h"
#include "trainyard/v1/workspaces.pb.h"

namespace trainyard {

void set_time(TimeMs time_ms, google::protobuf::Timestamp& message);
TimeMs from_proto(const google::protobuf::Timestamp& message);
void set_duration(DurationMs duration_ms, google::protobuf::Duration& message);
DurationMs from_proto(const google::protobuf::Duration& message);  // rounded down to milliseconds; saturates

// location: at most 64 characters; tags: at most 50, names up to 512 and values up to 256 characters.
Status check_location(const std::string& location);
Result<core::Tags> tags_from_proto(const google::protobuf::Map<std::string, std::string>& tags);

Result<core::FileServerSpec> from_proto(const v1::FileServerSpec& message);

void to_proto(const core::Group& row, v1::Group& message);
void to_proto(const core::Workspace& row, const std::string& group, v1::Workspace& message);
void to_proto(const core::Experiment& row, const core::WorkspaceRef& home, v1::Experiment& message);
void to_proto(const core::Account& row, const std::string& group, v1::Account& message);
void to_proto(const core::Share& row, const std::string& account, v1::Share& message);
void to_proto(const core::FileServerView& view, v1::FileServer& message);

}  // namespace trainyard
