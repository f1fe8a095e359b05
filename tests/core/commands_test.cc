// Commands of users: names, duplicates, missing parents, request ids, shares.
#include <catch2/catch.hpp>

#include "tests/core/world.h"

using namespace trainyard;
using namespace trainyard::test;
using Catch::Matchers::Contains;

TEST_CASE("creating the same thing again answers it; another definition is refused by name") {
  World w;
  w.cluster("nc6", 1);
  ClusterSpec same;
  same.vm_size = "Standard_NC6";
  same.target_node_count = 1;
  auto again = w.command(CreateCluster{{"G", "W", "NC6"}, same});
  REQUIRE(again.ok());
  CHECK(again->id == w.cluster_row("nc6").id.value);
  same.target_node_count = 2;
  auto other = w.command(CreateCluster{World::cluster_ref("nc6"), same});
  CHECK(other.error().code == Code::already_exists);
  CHECK_THAT(other.error().message, Contains("cluster nc6 exists already in workspace w"));

  const JobId job = w.submit("j", 1);
  auto same_job =
      w.command(SubmitJob{World::job_ref("J"), World::cluster_ref("NC6"), World::spec(1), {}, "other-unique"});
  REQUIRE(same_job.ok());
  CHECK(same_job->id == job.value);
  auto other_job = w.command(SubmitJob{World::job_ref("j"), World::cluster_ref("nc6"), World::spec(2), {}, "u"});
  CHECK(other_job.error().code == Code::already_exists);
  CHECK(w.command(CreateGroup{"G", "here", {}}).ok());
  CHECK(w.command(CreateGroup{"g", "elsewhere", {}}).error().code == Code::already_exists);
  CHECK(w.command(CreateWorkspace{{"g", "w"}, "here", {}}).ok());  // "" at creation meant the group's
  CHECK(w.command(CreateExperiment{{"g", "w", "E"}}).ok());
  CHECK(w.command(CreateAccount{"g", "A", "here", "", "/srv/a"}).ok());
  CHECK(w.command(CreateAccount{"g", "a", "mars", "", "/srv/a"}).error().code == Code::already_exists);
  CHECK(w.command(CreateShare{"a", "S"}).ok());
}

TEST_CASE("a missing parent is named with where it was looked for") {
  World w;
  w.cluster("nc6", 1);
  auto submit = [&w](JobRef ref, ClusterRef cluster) {
    return w.command(SubmitJob{std::move(ref), std::move(cluster), World::spec(1), {}, "u"}).error();
  };
  CHECK(submit({"nog", "w", "e", "j"}, World::cluster_ref("nc6")).message == "group nog does not exist");
  CHECK(submit({"g", "now", "e", "j"}, World::cluster_ref("nc6")).message == "workspace now is not in group g");
  CHECK(submit({"g", "w", "noe", "j"}, World::cluster_ref("nc6")).message ==
        "experiment noe is not in workspace w of group g");
  const Error error = submit(World::job_ref("j"), {"g", "w", "nowhere"});
  CHECK(error.code == Code::not_found);
  CHECK(error.message == "cluster nowhere is not in workspace w of group g");
  CHECK(w.terminate("nojob").error().code == Code::not_found);
  CHECK(w.remove("nojob").error().code == Code::not_found);
  CHECK(w.command(CreateShare{"nobody", "s"}).error().code == Code::not_found);
  CHECK(w.state().jobs.empty());
}

TEST_CASE("a request id answers the first answer again, also an error; for something else it is aborted") {
  World w;
  w.cluster("nc6", 1);
  auto first =
      w.command(SubmitJob{World::job_ref("j"), World::cluster_ref("nc6"), World::spec(1), {}, "u"}, "r1", "f1");
  REQUIRE(first.ok());
  const std::size_t jobs = w.state().jobs.size();
  w.restart_controller();
  auto again =
      w.command(SubmitJob{World::job_ref("j"), World::cluster_ref("nc6"), World::spec(1), {}, "u"}, "r1", "f1");
  REQUIRE(again.ok());
  CHECK(*again == *first);
  CHECK(w.state().jobs.size() == jobs);
  auto other =
      w.command(SubmitJob{World::job_ref("k"), World::cluster_ref("nc6"), World::spec(1), {}, "u"}, "r1", "f2");
  CHECK(other.error().code == Code::aborted);
  auto missing = w.command(TerminateJob{World::job_ref("later")}, "r2", "f3");
  CHECK(missing.error().code == Code::not_found);
  w.submit("later", 1);
  CHECK(w.command(TerminateJob{World::job_ref("later")}, "r2", "f3").error() == missing.error());
  CHECK(w.job("later").state == JobState::queued);
  w.now += w.settings.request_keep_ms / 2;
  w.step(Tick{});
  CHECK(w.command(TerminateJob{World::job_ref("later")}, "r2", "f3").error() == missing.error());
  CHECK(w.state().requests.size() == 2);
  w.now += w.settings.request_keep_ms;
  w.step(Tick{});
  CHECK(w.state().requests.empty());
}

TEST_CASE("the job's segment and volumes are resolved at submit; a missing share names its field") {
  World w;
  w.cluster("nc6", 1);
  JobSpec spec = World::spec(1);
  spec.file_shares.push_back({"A", "https://a.file.core.windows.net/s", "S", "afs"});
  REQUIRE(w.command(SubmitJob{World::job_ref("j"), World::cluster_ref("nc6"), spec, {}, "uuid"}).ok());
  CHECK(w.job("j").segment == "trainyard/g/workspaces/w/experiments/e/jobs/j/uuid");
  REQUIRE(w.job("j").volumes.size() == 1);
  CHECK(w.job("j").volumes[0].source == "/srv/a/s");
  CHECK(w.job("j").volumes[0].relative_mount_path == "afs");
  spec.file_shares.push_back({"a", "", "nos", "x"});
  auto no_share = w.command(SubmitJob{World::job_ref("k"), World::cluster_ref("nc6"), spec, {}, "u"});
  CHECK(no_share.error().code == Code::not_found);
  CHECK_THAT(no_share.error().message, Contains("properties.mountVolumes.azureFileShares[1]: share nos"));
  spec.file_shares[0].account_name = "noa";
  auto no_account = w.command(SubmitJob{World::job_ref("k"), World::cluster_ref("nc6"), spec, {}, "u"});
  CHECK_THAT(no_account.error().message, Contains("properties.mountVolumes.azureFileShares[0]: storage account noa"));
}

TEST_CASE("things that are being deleted take no new work") {
  World w;
  w.running_job(1);
  w.agents.at("n1").cleans = false;
  REQUIRE(w.remove("j").ok());
  CHECK(w.remove("j").ok());
  CHECK(w.terminate("j").ok());
  auto same = w.command(SubmitJob{World::job_ref("j"), World::cluster_ref("nc6"), World::spec(1), {}, "u"});
  CHECK(same.error().code == Code::already_exists);
  CHECK_THAT(same.error().message, Contains("is being deleted"));
  REQUIRE(w.command(DeleteCluster{World::cluster_ref("nc6")}).ok());
  CHECK(w.command(SubmitJob{World::job_ref("k"), World::cluster_ref("nc6"), World::spec(1), {}, "u"}).error().code ==
        Code::failed_precondition);
  CHECK(w.resize("nc6", 3).error().code == Code::failed_precondition);
  w.agents.at("n1").cleans = true;
  w.settle();
  CHECK(w.find_job("j") == nullptr);
  CHECK(w.state().clusters.empty());
}

TEST_CASE("the timeline is gap-free and says who and why") {
  World w;
  w.running_job(2);
  REQUIRE(w.terminate("j").ok());
  w.settle();
  std::uint64_t sequence = 0;
  std::vector<std::string> story;
  for (const TimelineLine& line : w.timeline) {
    CHECK(line.sequence == ++sequence);
    CHECK_FALSE(line.who.empty());
    if (line.subject.starts_with("job:")) story.push_back(line.what);
  }
  CHECK(story == std::vector<std::string>{"queued", "queued -> preparing", "preparing -> starting",
                                          "starting -> running", "running -> stopping", "stopping -> failed"});
  CHECK(w.said<Publish>().size() == w.timeline.size());
}

TEST_CASE("orders are asked for at most once per node and batch") {
  World w;
  w.running_job(2);
  w.forget();
  w.core->step({w.now, Command{1, "", "", "user:ann", TerminateJob{World::job_ref("j")}}});
  w.core->step({w.now, Command{2, "", "", "user:ann", DeleteCluster{World::cluster_ref("nc6")}}});
  const Outcome outcome = w.core->take_outcome();
  std::map<NodeId, int> asked;
  for (const Action& action : outcome.actions) {
    if (const SendOrders* send = std::get_if<SendOrders>(&action)) ++asked[send->node];
  }
  CHECK(asked.size() == 2);
  for (const auto& [node, times] : asked) CHECK(times == 1);
}

TEST_CASE("tags are replaced; what is being deleted keeps its own") {
  World w;
  REQUIRE(w.command(UpdateWorkspace{{"G", "W"}, {{"team", "vision"}}}).ok());
  CHECK(w.state().workspaces.begin()->second.tags == Tags{{"team", "vision"}});
  REQUIRE(w.command(UpdateWorkspace{{"g", "w"}, {}}).ok());
  CHECK(w.state().workspaces.begin()->second.tags.empty());
  REQUIRE(w.command(UpdateGroup{"g", {{"a", "b"}}}).ok());
  CHECK(w.state().groups.begin()->second.tags == Tags{{"a", "b"}});
  CHECK(w.command(UpdateWorkspace{{"g", "none"}, {}}).error().code == Code::not_found);
  CHECK(w.command(UpdateGroup{"none", {}}).error().code == Code::not_found);
  w.running_job(1);
  w.cut("n1");
  REQUIRE(w.command(DeleteGroup{"g"}).ok());
  REQUIRE(w.state().groups.size() == 1);  // its job must end first
  CHECK(w.command(UpdateGroup{"g", {}}).error().code == Code::failed_precondition);
  CHECK(w.command(UpdateWorkspace{{"g", "w"}, {}}).error().code == Code::failed_precondition);
}

TEST_CASE("a file server is a name; it goes with its workspace") {
  World w;
  const FileServerSpec spec{"Standard_DS2", 10, 2, "Premium_LRS", "none", "demo", ""};
  const auto create = [&](const std::string& name, const FileServerSpec& wanted) {
    return w.command(CreateFileServer{{"g", "w", name}, wanted, "10.0.0.5", "/srv/nfs"});
  };
  const auto made = create("nfs", spec);
  REQUIRE(made.ok());
  CHECK(create("NFS", spec)->id == made->id);
  FileServerSpec other = spec;
  other.disk_count = 3;
  CHECK(create("nfs", other).error().code == Code::already_exists);
  CHECK(w.command(CreateFileServer{{"g", "no", "nfs"}, spec, "a", "/b"}).error().code == Code::not_found);
  CHECK(w.command(DeleteFileServer{{"g", "w", "none"}}).error().message ==
        "file server none is not in workspace w of group g");
  REQUIRE(create("second", spec).ok());
  REQUIRE(w.command(DeleteFileServer{{"g", "w", "nfs"}}).ok());
  CHECK(w.state().file_servers.size() == 1);
  REQUIRE(w.command(DeleteWorkspace{{"g", "w"}}).ok());
  CHECK(w.state().file_servers.empty());
  CHECK(w.state().file_server_by_path.empty());
}

namespace {

JobSpec with_share(const std::string& account = "a", const std::string& share = "s") {
  JobSpec spec = World::spec(1);
  spec.file_shares = {{account, "https://a.file.core.windows.net/s", share, "afs"}};
  return spec;
}

Result<Subject> submit(World& w, const std::string& name, const JobSpec& spec) {
  return w.command(SubmitJob{World::job_ref(name), World::cluster_ref("nc6"), spec, {}, "u"});
}

}  // namespace

TEST_CASE("a share is deleted in two steps, and in between nothing new can use it, also after a restart") {
  World w;
  w.cluster("nc6", 1);
  const auto share = w.command(DeleteShare{"A", "S"});
  REQUIRE(share.ok());
  const ShareId id{share->id};
  w.restart_controller();
  CHECK(w.state().shares.at(id).deleting);
  const auto job = submit(w, "j", with_share());
  CHECK(job.error().code == Code::failed_precondition);
  CHECK(job.error().message ==
        "properties.mountVolumes.azureFileShares[0]: share s of storage account a is being deleted");
  ClusterSpec spec;
  spec.vm_size = "Standard_NC6";
  spec.node_setup.blob_file_systems = {{"a", "s", "bfs", ""}};
  CHECK(w.command(CreateCluster{World::cluster_ref("c"), spec}).error().message ==
        "properties.nodeSetup.mountVolumes.azureBlobFileSystems[0]: share s of storage account a is being deleted");
  CHECK(w.command(CreateShare{"a", "s"}).error().code == Code::already_exists);
  CHECK(w.state().jobs.empty());
  // Whoever was broken off begins again.
  REQUIRE(w.command(DeleteShare{"a", "s"}).ok());
  REQUIRE(w.command(ForgetShare{id}).ok());
  CHECK(w.command(ForgetShare{id}).ok());  // said twice
  CHECK(w.command(DeleteShare{"a", "s"}).error().code == Code::not_found);
  const auto again = w.command(CreateShare{"a", "s"});
  REQUIRE(again.ok());
  CHECK(again->id != id.value);
  CHECK(w.command(ForgetShare{id}).ok());  // late: of the old one
  CHECK(w.command(ForgetShare{ShareId{again->id}}).error().code == Code::failed_precondition);
  CHECK(submit(w, "j", with_share()).ok());
}

TEST_CASE("a share that is mounted is not deleted, and the message says by whom") {
  World w;
  w.cluster("nc6", 0);
  ClusterSpec spec;
  spec.vm_size = "Standard_NC6";
  spec.node_setup.file_shares = {{"a", "https://a.file.core.windows.net/s", "s", "ext"}};
  w.cluster("mounts", spec);
  for (int i = 1; i <= 6; ++i) REQUIRE(submit(w, "j" + std::to_string(i), with_share()).ok());
  const auto refused = w.command(DeleteShare{"a", "s"});
  CHECK(refused.error().code == Code::failed_precondition);
  CHECK(refused.error().message ==
        "share s of storage account a is mounted by job g/w/e/j1, job g/w/e/j2, job g/w/e/j3, job g/w/e/j4, job "
        "g/w/e/j5 and 2 more: end the jobs and delete the clusters first; nothing was removed");
  for (int i = 1; i <= 6; ++i) REQUIRE(w.terminate("j" + std::to_string(i)).ok());
  CHECK_THAT(w.command(DeleteShare{"a", "s"}).error().message, Contains("is mounted by cluster g/w/mounts: end"));
  REQUIRE(w.command(DeleteCluster{World::cluster_ref("mounts")}).ok());
  w.settle();
  CHECK(w.command(DeleteShare{"a", "s"}).ok());  // ended jobs keep nothing mounted
}

TEST_CASE("a share's delete takes nothing of another account or share that lies in its directory") {
  World w;
  REQUIRE(w.command(CreateAccount{"g", "b", "here", "", "/srv"}).ok());
  REQUIRE(w.command(CreateShare{"b", "a"}).ok());  // /srv/a is where account a keeps its shares
  CHECK_THAT(w.command(DeleteShare{"b", "a"}).error().message,
             Contains("the directory of share a of storage account b also holds storage account a, share s of storage "
                      "account a"));
  REQUIRE(w.command(CreateAccount{"g", "c", "here", "", "/srv/a"}).ok());
  REQUIRE(w.command(CreateShare{"c", "s"}).ok());  // another name for the same files
  CHECK_THAT(w.command(DeleteShare{"a", "s"}).error().message, Contains("also holds share s of storage account c"));
  REQUIRE(w.command(CreateShare{"c", "other"}).ok());
  CHECK(w.command(DeleteShare{"c", "other"}).ok());
}

TEST_CASE("who ran what in a job is a line of its timeline") {
  World w;
  w.running_job(1);
  REQUIRE(w.command(NoteExec{World::job_ref("J"), "n1", "nvidia-smi"}).ok());
  CHECK(w.timeline.back().what == "exec on n1");
  CHECK(w.timeline.back().why == "nvidia-smi");
  CHECK_FALSE(w.timeline.back().who.empty());
  std::string long_one(199, 'x');
  long_one += "\xc3\xa4 and more";  // a character of two bytes across the end of what is kept
  REQUIRE(w.command(NoteExec{World::job_ref("j"), "n1", long_one}).ok());
  CHECK(w.timeline.back().why == std::string(199, 'x') + "...");
  CHECK(w.command(NoteExec{World::job_ref("none"), "n1", "x"}).error().code == Code::not_found);
  REQUIRE(w.terminate("j").ok());
  CHECK(w.command(NoteExec{World::job_ref("j"), "n1", "x"}).error().code == Code::failed_precondition);
}
