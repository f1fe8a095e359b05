// Answers of the controller in the shapes that users of Batch AI know: JSON with every field (null when unset) and the
// tables of its command line. Pure.
#pragma once

#include <string>

#include "cli/output.h"
#include "trainyard/v1/clusters.pb.h"
#include "trainyard/v1/experiments.pb.h"
#include "trainyard/v1/file_servers.pb.h"
#include "trainyard/v1/groups.pb.h"
#include "trainyard/v1/jobs.pb.h"
#include "trainyard/v1/nodes.pb.h"
#include "trainyard/v1/usages.pb.h"
#include "trainyard/v1/volumes.pb.h"
#include "trainyard/v1/workspaces.pb.h"

namespace trainyard::cli {

// One item and its row. The columns of a kind are the same for show and list.
template <class Message>
struct Kind;  // has: static columns(); static Json json(const Message&); static row(const Message&)

using Row = std::vector<std::string>;

#define TY_KIND(message)                       \
  template <>                                  \
  struct Kind<v1::message> {                   \
    static std::vector<std::string> columns(); \
    static Json json(const v1::message& item); \
    static Row row(const v1::message& item);   \
  };
TY_KIND(Group)
TY_KIND(Workspace)
TY_KIND(Reservation)
TY_KIND(Experiment)
TY_KIND(Cluster)
TY_KIND(Job)
TY_KIND(JobArray)
TY_KIND(JobSchedule)
TY_KIND(FileEntry)
TY_KIND(TimelineLine)
TY_KIND(Account)
TY_KIND(Share)
TY_KIND(Node)
TY_KIND(FileServer)
TY_KIND(Usage)
#undef TY_KIND

template <class Message>
Answer show_one(const Message& item) {
  return Answer{Kind<Message>::json(item), Table{Kind<Message>::columns(), {Kind<Message>::row(item)}}};
}

template <class Items>
Answer show_all(const Items& items) {
  using Message = typename Items::value_type;
  Answer answer{Json::array(), Table{Kind<Message>::columns(), {}}};
  for (const Message& item : items) {
    answer.value.push_back(Kind<Message>::json(item));
    answer.table.rows.push_back(Kind<Message>::row(item));
  }
  return answer;
}

// Why a job waits: JSON with everything, a table with a line for each thing that keeps it or would help.
Answer show_why(const v1::JobExplanation& explanation);
// The same of the next tasks of a job array.
Answer show_why(const v1::JobArrayExplanation& explanation);
// What happened to a job array and its tasks.
Answer show_timeline(const v1::JobArrayTimeline& timeline);

// GPU time by cause: GPU-hours and a line with the total for people, exact GPU-seconds in JSON and CSV.
Answer show_usage_report(const v1::ReportUsageResponse& report, v1::UsageGroupBy group_by, bool by_day);

// Where a job's cluster is: from its ARM id, "group/workspace/name", or a name in the job's own workspace.
struct ClusterPlace {
  std::string group, workspace, name;
  std::string id() const;
};
ClusterPlace cluster_of(const v1::Job& job);

// "7 days, 0:00:00": how Batch AI's command line printed durations.
std::string spoken_duration(long long seconds);

}  // namespace trainyard::cli
