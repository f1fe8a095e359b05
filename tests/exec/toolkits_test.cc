#include "agent/exec/toolkits.h"

#include <sys/wait.h>

#include <catch2/catch.hpp>

#include "agent/exec/mpirun.h"
#include "tests/exec/support.h"

using namespace trainyard;
using namespace trainyard::agent;
using namespace trainyard::test;

namespace {

HoldingPaths paths() {
  HoldingPaths paths;
  paths.job_mount_root = "/w/j/7.1/mounts";
  paths.mount_root = "/w/mounts";
  paths.job_temp = "/w/j/7.1/temp";
  paths.job_temp_dir = "/w/j";
  paths.shared_job_temp = "/w/j/7.1/shared";
  paths.hostfile = "/w/j/7.1/hostfile";
  paths.home = "/w/j/7.1/home";
  paths.run = "/r/7.1";
  paths.rank_logs = "/w/j/7.1/ranks";
  paths.socket = "/s/7.1/launch/socket";
  paths.rsh_program = "/usr/bin/trainyard-rsh";
  paths.id = {JobId{7}, 1};
  return paths;
}

NodeFacts facts() {
  NodeFacts facts;
  facts.network_cidr = "10.91.0.0/24";
  facts.interface = "eth0";
  facts.gpu_count = 2;
  facts.cores = 4;
  facts.cluster = "group/workspace/nc6cluster";
  return facts;
}

// The tutorial's job on `nodes` nodes.
Launch tutorial(std::uint32_t nodes, std::uint32_t processes = 0) {
  Launch launch;
  launch.segment = "s/g/workspaces/w/experiments/e/jobs/j/u";
  launch.first_port = 20'000;
  launch.spec.toolkit = Toolkit::horovod;
  launch.spec.node_count = nodes;
  launch.spec.process_count = processes;
  launch.spec.python_script_file_path = "$AZ_BATCHAI_JOB_MOUNT_ROOT/myshare/cifar/cifar_cnn_distributed.py";
  launch.spec.command_line_args = "--dir=$AZ_BATCHAI_JOB_MOUNT_ROOT/myshare/cifar";
  launch.spec.std_out_err_path_prefix = "$AZ_BATCHAI_JOB_MOUNT_ROOT/myshare/cifar";
  for (std::uint32_t i = 0; i < nodes; ++i) {
    launch.members.push_back({"n" + std::to_string(i + 1), "10.91.0." + std::to_string(11 + i)});
  }
  return launch;
}

std::string value(const std::vector<NamedValue>& environment, const std::string& name) {
  std::string found = "<unset>";
  for (const auto& variable : environment) {
    if (variable.name != name) continue;
    REQUIRE(found == "<unset>");  // once
    found = variable.value;
  }
  return found;
}

// What bash prints for a script, with the variables.
std::string bash_output(const std::string& script, const std::vector<NamedValue>& environment) {
  TempDir place;
  write_text(place / "script", script);
  std::string line = "env -i";
  for (const auto& variable : environment) line += " " + shell_quote(variable.name + "=" + variable.value);
  line += " bash -c \"$(cat " + (place / "script") + ")\" 2>&1";
  FILE* pipe = ::popen(line.c_str(), "r");
  std::string out;
  char buffer[4096];
  for (std::size_t got; (got = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;) out.append(buffer, got);
  ::pclose(pipe);
  return out;
}

std::string rank_of_tutorial() {
  return R"(bash -c '[ -f ~/.bashrc ] && source ~/.bashrc
trainyard_python=$(command -v python || command -v python3) || { echo '\''trainyard: neither python nor python3 is installed on this node'\'' >&2; exit 127; }
exec "$trainyard_python" $AZ_BATCHAI_JOB_MOUNT_ROOT/myshare/cifar/cifar_cnn_distributed.py --dir=$AZ_BATCHAI_JOB_MOUNT_ROOT/myshare/cifar')";
}

std::string hydra_line() {
  return "exec \"$trainyard_mpirun\" '-bootstrap' 'ssh' '-bootstrap-exec' '/usr/bin/trainyard-rsh' '-disable-x' "
         "'-genvnone' '-localhost' '10.91.0.11' '-iface' 'eth0' '-hosts' "
         "'10.91.0.11,10.91.0.12,10.91.0.13,10.91.0.14' '-ppn' '1' '-n' '4' " +
         rank_of_tutorial();
}

}  // namespace

TEST_CASE("the mpirun line of the tutorial on four nodes, word for word") {
  CHECK(
      head_script(tutorial(4), paths(), facts()) ==
      R"SH([ -f ~/.bashrc ] && source ~/.bashrc
cd "$AZ_BATCHAI_JOB_WORK_DIR" || exit 1
trainyard_mpirun=$(command -v mpirun)
case "$trainyard_mpirun" in ''|/bin/mpirun|/usr/bin/mpirun)
  trainyard_mpirun=$(command -v mpirun.openmpi || command -v mpirun || command -v mpiexec.hydra) || { echo 'trainyard: MPI (mpirun) is not installed on this node' >&2; exit 127; };;
esac
case "$trainyard_mpirun" in
*/mpirun.openmpi) ;;
*) case "$("$trainyard_mpirun" --version 2>&1)" in *HYDRA*|*Intel*)
)SH" + hydra_line() +
          R"(;;
esac;;
esac
exec "$trainyard_mpirun" '--allow-run-as-root' '--stdin' 'none' '--hostfile' '/w/j/7.1/hostfile' '-np' '4' '--map-by' 'ppr:1:node' '--bind-to' 'none' '--leave-session-attached' '--output-filename' '/w/j/7.1/ranks')"
          R"( '--mca' 'plm' 'rsh' '--mca' 'plm_rsh_agent' '/usr/bin/trainyard-rsh' '--mca' 'plm_rsh_no_tree_spawn' '1' '--mca' 'plm_rsh_num_concurrent' '1024')"
          R"( '--mca' 'orte_keep_fqdn_hostnames' '1' '--mca' 'oob_tcp_if_include' '10.91.0.0/24' '--mca' 'btl_tcp_if_include' '10.91.0.0/24')"
          R"( '--mca' 'oob_tcp_disable_ipv6_family' '1' '--mca' 'btl_tcp_disable_family' '6' '--mca' 'btl' 'self,vader,tcp' '--mca' 'pml' 'ob1')"
          R"( '--mca' 'oob_tcp_keepalive_time' '10' '--mca' 'oob_tcp_keepalive_intvl' '2' '--mca' 'oob_tcp_keepalive_probes' '5')"
          R"( '--mca' 'orte_tmpdir_base' '/r/7.1' '--mca' 'oob_tcp_dynamic_ipv4_ports' '20001-20004' '--mca' 'oob_tcp_dynamic_ipv6_ports' '20005-20008')"
          R"( '--mca' 'btl_tcp_port_min_v4' '20009' '--mca' 'btl_tcp_port_range_v4' '247')"
          R"( '--mca' 'btl_tcp_port_min_v6' '20009' '--mca' 'btl_tcp_port_range_v6' '247' )" +
          rank_of_tutorial());
}

TEST_CASE("the logs of a node's ranks are where Open MPI writes them") {
  const auto on = [](std::uint32_t ranks, std::uint32_t nodes, std::uint32_t member) {
    Launch launch;
    launch.spec.process_count = ranks;
    launch.members.resize(nodes);
    std::string text;
    for (const std::uint32_t rank : logged_ranks(rank_layout(launch), member)) {
      text += rank_log_directory(rank_layout(launch), paths(), rank).substr(paths().rank_logs.size()) + " ";
    }
    return text;
  };
  CHECK(on(4, 2, 0) == "/1/rank.0 /1/rank.1 ");
  CHECK(on(4, 2, 1) == "/1/rank.2 /1/rank.3 ");
  CHECK(on(3, 2, 0) == "/1/rank.0 /1/rank.2 ");
  CHECK(on(3, 2, 1) == "/1/rank.1 ");
  CHECK(on(12, 6, 4) == "/1/rank.08 /1/rank.09 ");
  CHECK(on(65, 1, 0).empty());
  Launch many;
  many.spec.process_count = 65;
  many.members.resize(1);
  for (const auto& word : mpirun_arguments(many, paths(), facts())) CHECK(word != "--output-filename");
}

TEST_CASE("ranks are spread evenly, or round robin when they do not divide") {
  const auto joined = [](const Launch& launch) {
    std::string text;
    for (const auto& word : mpirun_arguments(launch, paths(), facts())) text += word + " ";
    return text;
  };
  CHECK(joined(tutorial(2, 8)).find("-np 8 --map-by ppr:4:node") != std::string::npos);
  CHECK(hostfile_text(tutorial(2, 8)) == "10.91.0.11 slots=4\n10.91.0.12 slots=4\n");
  CHECK(joined(tutorial(2, 8)).find("mpi_yield_when_idle 1") != std::string::npos);  // 4 ranks on 4 cores
  CHECK(joined(tutorial(2, 6)).find("mpi_yield_when_idle") == std::string::npos);
  CHECK(joined(tutorial(4, 9)).find("-np 9 --map-by node") != std::string::npos);
  CHECK(hostfile_text(tutorial(4, 9)).find("slots=3") != std::string::npos);
  CHECK(joined(tutorial(1)).find("-np 1 --map-by ppr:1:node") != std::string::npos);
  // Of more ranks than the attempt has ports for, none is bound to them.
  CHECK(joined(tutorial(2, 494)).find("btl_tcp_port_range_v4 247") != std::string::npos);
  CHECK(joined(tutorial(2, 496)).find("btl_tcp_port") == std::string::npos);
}

TEST_CASE("custom commands run as they are, MPI ones at each rank; the interpreter may be given") {
  Launch launch = tutorial(2);
  launch.spec.toolkit = Toolkit::custom;
  launch.spec.command_line = "A=1; echo \"$A\" | tee 'x y' && exit 3";
  CHECK(head_script(launch, paths(), facts()) ==
        "[ -f ~/.bashrc ] && source ~/.bashrc\ncd \"$AZ_BATCHAI_JOB_WORK_DIR\" || exit 1\n" + launch.spec.command_line);
  launch.spec.toolkit = Toolkit::custom_mpi;
  const std::string script = head_script(launch, paths(), facts());
  const std::string tail =
      " bash -c " + shell_quote("[ -f ~/.bashrc ] && source ~/.bashrc\n" + launch.spec.command_line);
  CHECK(script.substr(script.size() - tail.size()) == tail);

  Launch python = tutorial(2);
  python.mapping.python_interpreter = "python3";
  CHECK(head_script(python, paths(), facts()).find("exec python3 $AZ_BATCHAI_JOB_MOUNT_ROOT") != std::string::npos);
  python.spec.python_interpreter_path = "$AZ_BATCHAI_JOB_TEMP/venv/bin/python";
  CHECK(head_script(python, paths(), facts()).find("exec $AZ_BATCHAI_JOB_TEMP/venv/bin/python $AZ_") !=
        std::string::npos);
}

TEST_CASE("preparation: the job's own, or what the operator put in its place") {
  Launch launch = tutorial(2);
  CHECK(preparation_script(launch).empty());
  launch.spec.preparation_command_line = "pip install horovod";
  CHECK(preparation_script(launch).find("\npip install horovod") != std::string::npos);
  launch.mapping.preparation = "true";
  CHECK(preparation_script(launch).find("pip") == std::string::npos);
  launch.mapping.preparation = "";
  CHECK(preparation_script(launch).empty());
}

TEST_CASE("the job's variables are complete and expanded, and the user's cannot cut its strings") {
  Launch launch = tutorial(2);
  launch.spec.input_directories = {{"DATA", "$AZ_BATCHAI_JOB_MOUNT_ROOT/data"}};
  launch.spec.output_directories = {{"MODEL", "$AZ_BATCHAI_JOB_MOUNT_ROOT/out", "m"}, {"PLAIN", "/x/", ""}};
  launch.spec.environment = {{"TIMELINE", "${AZ_BATCHAI_OUTPUT_MODEL}/t.json"},
                             {"TWICE", "$TIMELINE:$NOT_DECLARED:"},
                             {"PATH", "/opt/bin:$PATH"},
                             {"TRAINYARD_SOCKET", "/evil"},
                             {"TRAINYARD_TASK_INDEX", "7"},  // a job array's: the controller gave it
                             {"OMPI_MCA_plm_rsh_agent", "ssh"}};
  const auto environment = job_environment(launch, 1, {"GPU-a", "GPU-b"}, paths(), facts());
  CHECK(value(environment, "AZ_BATCHAI_JOB_MOUNT_ROOT") == "/w/j/7.1/mounts");
  CHECK(value(environment, "AZ_BATCHAI_STDOUTERR_DIR") ==
        "/w/j/7.1/mounts/myshare/cifar/s/g/workspaces/w/experiments/e/jobs/j/u/stdouterr");
  CHECK(stdouterr_directory(launch, paths()) == value(environment, "AZ_BATCHAI_STDOUTERR_DIR"));
  CHECK(value(environment, "AZ_BATCHAI_INPUT_DATA") == "/w/j/7.1/mounts/data");
  CHECK(value(environment, "AZ_BATCHAI_OUTPUT_MODEL") ==
        "/w/j/7.1/mounts/out/s/g/workspaces/w/experiments/e/jobs/j/u/outputs/m");
  CHECK(value(environment, "AZ_BATCHAI_OUTPUT_PLAIN") == "/x/s/g/workspaces/w/experiments/e/jobs/j/u/outputs");
  CHECK(output_directories(launch, paths()).size() == 2);
  CHECK(value(environment, "TIMELINE") == value(environment, "AZ_BATCHAI_OUTPUT_MODEL") + "/t.json");
  CHECK(value(environment, "TWICE") == value(environment, "TIMELINE") + "::");
  CHECK(value(environment, "PATH") == "/opt/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
  CHECK(value(environment, "TRAINYARD_SOCKET") == "/s/7.1/launch/socket");
  CHECK(value(environment, "TRAINYARD_TASK_INDEX") == "7");
  CHECK(value(environment, "OMPI_MCA_plm_rsh_agent") == "/usr/bin/trainyard-rsh");
  CHECK(value(environment, "AZ_BATCHAI_TASK_INDEX") == "1");
  CHECK(value(environment, "AZ_BATCHAI_NUM_GPUS") == "2");
  CHECK(value(environment, "AZ_BATCHAI_CLUSTER_NAME") == "nc6cluster");
  CHECK(value(environment, "AZ_BATCH_HOST_LIST") == "10.91.0.11,10.91.0.12");
  CHECK(value(environment, "AZ_BATCHAI_JOB_MASTER_NODE_IP") == "10.91.0.11");
  CHECK(value(environment, "AZ_BATCHAI_PREV_OUTPUT_MODEL") == "<unset>");
  CHECK(value(environment, "AZ_BATCHAI_SHARED_JOB_TEMP") == "<unset>");  // two nodes, and no share
  CHECK(value(environment, "CUDA_VISIBLE_DEVICES") == "GPU-a,GPU-b");
  CHECK(value(environment, "NCCL_SOCKET_IFNAME") == "eth0");
  CHECK(value(environment, "HOME") == "/w/j/7.1/home");

  NodeFacts pretend = facts();
  pretend.pretend_gpus = {"GPU-a", "GPU-b"};
  CHECK(value(job_environment(launch, 0, {"GPU-a", "GPU-b"}, paths(), pretend), "CUDA_VISIBLE_DEVICES") == "<unset>");
  pretend.pretend_gpus = {"GPU-b"};
  CHECK(value(job_environment(launch, 0, {"GPU-a", "GPU-b"}, paths(), pretend), "CUDA_VISIBLE_DEVICES") == "GPU-a");
  CHECK(value(job_environment(launch, 0, {}, paths(), facts()), "CUDA_VISIBLE_DEVICES").empty());
}

TEST_CASE("the shared job temp is on a share of the job, of this attempt alone") {
  Launch launch = tutorial(2);
  launch.volumes = {{Volume::Kind::local, "/srv/a/data", "data"}, {Volume::Kind::local, "/srv/a/myshare", "myshare"}};
  HoldingPaths second = paths();
  second.id.attempt = 2;
  const std::string below = "/s/g/workspaces/w/experiments/e/jobs/j/u/shared/2";
  CHECK(shared_job_temp(launch, second) == "/w/j/7.1/mounts/myshare/cifar" + below);
  launch.spec.std_out_err_path_prefix = "$AZ_BATCHAI_JOB_TEMP_DIR";  // not a share: the first one then
  CHECK(shared_job_temp(launch, second) == "/w/j/7.1/mounts/data" + below);
  launch.spec.std_out_err_path_prefix = "$AZ_BATCHAI_JOB_MOUNT_ROOT/data2";  // beside the mount "data"
  CHECK(shared_job_temp(launch, second) == "/w/j/7.1/mounts/data" + below);
  launch.spec.std_out_err_path_prefix = "$AZ_BATCHAI_MOUNT_ROOT/external";  // a volume of the cluster
  CHECK(shared_job_temp(launch, second) == "/w/mounts/external" + below);
  launch.spec.std_out_err_path_prefix = "$AZ_BATCHAI_JOB_TEMP_DIR";
  launch.volumes.clear();
  CHECK(shared_job_temp(launch, second).empty());
  CHECK(shared_job_temp(tutorial(1), second) == "/w/j/7.1/shared");
  launch.spec.output_directories = {{"MODEL", "/x", ""}};
  CHECK(value(job_environment(launch, 0, {}, second, facts()), "AZ_BATCHAI_PREV_OUTPUT_MODEL") ==
        "/x/s/g/workspaces/w/experiments/e/jobs/j/u/outputs");
}

TEST_CASE("references expand as bash would, undefined ones to nothing; other dollars stay") {
  const std::vector<NamedValue> environment{{"A", "1"}, {"LONG_1", "x y"}};
  CHECK(expand_variables("$A${A}$LONG_1/$AB-", environment) == "11x y/-");
  CHECK(expand_variables("$", environment) == "$");
  CHECK(expand_variables("$$ $1 ${ ${} ${A $-", environment) == "$$ $1 ${ ${} ${A $-");
  CHECK(expand_variables("100%", environment) == "100%");
}

TEST_CASE("files in stdouterr have Batch AI's names") {
  CHECK(output_names(tutorial(1), 0).execution_log == "execution.log");
  CHECK(output_names(tutorial(1), 0).prep_stdout == "stdout-job_prep.txt");
  CHECK(output_names(tutorial(4), 2).execution_log == "execution-n3.log");
  CHECK(output_names(tutorial(4), 2).prep_stderr == "stderr-job_prep-n3.txt");
  CHECK(output_names(tutorial(4), 0).head_stdout == "stdout.txt");
}

TEST_CASE("whatever a user writes reaches the shell as it was written") {
  for (const std::string& text :
       {std::string("plain"), std::string("it's"), std::string("''"), std::string("\"$HOME\" `id` $(id)"),
        std::string("a\nb\tc"), std::string("\\ \\' \\\\"), std::string("; rm -rf / &"), std::string("*?[a]~ !x #"),
        std::string("ünï \xf0\x9f\x9a\x82"), std::string("'"), std::string("-n -e"), std::string()}) {
    CAPTURE(text);
    CHECK(bash_output("printf %s " + shell_quote(text), {{"PATH", "/usr/bin:/bin"}}) == text);
    CHECK(bash_output("bash -c " + shell_quote("printf %s " + shell_quote(text)), {{"PATH", "/usr/bin:/bin"}}) == text);
  }
}

TEST_CASE("a rank sees what the preparation put into ~/.bashrc, and runs in the work directory") {
  TempDir place;
  HoldingPaths here = paths();
  here.home = place.path();
  here.job_temp = place.path();
  Launch launch = tutorial(1);
  launch.spec.toolkit = Toolkit::custom;
  launch.spec.preparation_command_line = "echo 'export FROM_PREPARATION=yes' >> ~/.bashrc";
  launch.spec.command_line = "echo $FROM_PREPARATION $AZ_BATCHAI_TASK_INDEX; pwd";
  const auto environment = job_environment(launch, 0, {}, here, facts());
  CHECK(bash_output(preparation_script(launch), environment).empty());
  CHECK(bash_output(head_script(launch, here, facts()), environment) == "yes 0\n" + place.path() + "\n");
}

TEST_CASE("Open MPI takes the line: two ranks on this machine") {
  if (std::system("command -v mpirun.openmpi >/dev/null 2>&1") != 0) {
    std::printf("skipped: Open MPI is not installed\n");
    return;
  }
  TempDir place;
  HoldingPaths here = paths();
  here.home = here.job_temp = place.path();
  here.hostfile = place / "hostfile";
  here.rsh_program = program("trainyard-rsh");  // mpirun looks for it although nothing is remote
  NodeFacts local = facts();
  local.network_cidr = "127.0.0.0/8";
  Launch launch = tutorial(1, 2);
  launch.members[0].address = "127.0.0.1";
  launch.spec.toolkit = Toolkit::custom_mpi;
  launch.spec.command_line = "echo \"rank $OMPI_COMM_WORLD_RANK it's $AZ_BATCHAI_TASK_INDEX\"";
  write_text(here.hostfile, hostfile_text(launch));
  const std::string out = bash_output(head_script(launch, here, local), job_environment(launch, 0, {}, here, local));
  INFO(out);
  CHECK(out.find("rank 0 it's 0") != std::string::npos);
  CHECK(out.find("rank 1 it's 0") != std::string::npos);
  // A user's own mpirun finds its way by the variables alone.
  launch.spec.toolkit = Toolkit::custom;
  launch.spec.command_line = "mpirun.openmpi --hostfile $AZ_BATCHAI_MPI_HOST_FILE -np 2 echo own";
  const std::string own = bash_output(head_script(launch, here, local), job_environment(launch, 0, {}, here, local));
  INFO(own);
  CHECK(own.find("own") != std::string::npos);
}
