// Jobs whose processes Trainyard starts itself, and cntk and caffe: who runs where, with which variables; and what is
// said when a rank fails.
#include "agent/exec/tasks.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <catch2/catch.hpp>
#include <map>
#include <nlohmann/json.hpp>

#include "agent/exec/failure.h"
#include "agent/exec/files.h"
#include "agent/exec/ports.h"

using namespace trainyard;
using namespace trainyard::agent;

namespace {

Launch launch_of(Toolkit toolkit, std::uint32_t nodes) {
  Launch launch;
  launch.segment = "seg";
  launch.first_port = 20000;
  launch.spec.toolkit = toolkit;
  launch.spec.node_count = nodes;
  launch.spec.python_script_file_path = "$AZ_BATCHAI_JOB_MOUNT_ROOT/train.py";
  launch.spec.std_out_err_path_prefix = "/logs";
  for (std::uint32_t i = 0; i < nodes; ++i) {
    launch.members.push_back({"n" + std::to_string(i + 1), "10.0.0." + std::to_string(i + 1)});
  }
  return launch;
}

using Variables = std::map<std::string, std::string>;
Variables variables_of(const Launch& launch, std::size_t number, const std::vector<std::string>& gpus = {}) {
  const Task task = tasks_of(launch).at(number);
  NodeFacts facts;
  facts.gpu_count = 4;
  Variables variables;
  for (const auto& variable : job_environment(launch, task.member, gpus, {}, facts, number)) {
    CHECK(variables.emplace(variable.name, variable.value).second);
  }
  return variables;
}

nlohmann::json tf_config(const Launch& launch, std::size_t number) {
  return nlohmann::json::parse(variables_of(launch, number).at("TF_CONFIG"));
}

}  // namespace

TEST_CASE("distributed TensorFlow: a correct TF_CONFIG with a chief beside Batch AI's variables") {
  Launch launch = launch_of(Toolkit::tensor_flow, 2);
  launch.spec.parameter_server_count = 1;
  launch.spec.worker_count = 3;
  launch.spec.master_command_line_args = "--master";
  launch.spec.worker_command_line_args = "--worker";
  launch.spec.parameter_server_command_line_args = "--ps";
  const auto tasks = tasks_of(launch);
  REQUIRE(tasks.size() == 4);
  CHECK(tasks_text(launch) ==
        "10.0.0.1 background ps-0\n10.0.0.1 awaited wk-0\n10.0.0.2 awaited wk-1\n10.0.0.1 awaited wk-2\n");
  const auto cluster = nlohmann::json::parse(
      R"({"chief":["10.0.0.1:20001"],"worker":["10.0.0.2:20000","10.0.0.1:20002"],"ps":["10.0.0.1:20000"]})");
  for (std::size_t number = 0; number < tasks.size(); ++number) {
    CHECK(variables_of(launch, number).at("AZ_BATCHAI_PS_HOSTS") == "10.0.0.1:20000");
    CHECK(variables_of(launch, number).at("AZ_BATCHAI_WORKER_HOSTS") == "10.0.0.1:20001,10.0.0.2:20000,10.0.0.1:20002");
    CHECK(tf_config(launch, number)["cluster"] == cluster);
    CHECK(tf_config(launch, number)["environment"] == "cloud");
  }
  const auto is = [&](std::size_t number, const char* type, int index, const char* old_index) {
    CHECK(tf_config(launch, number)["task"] == nlohmann::json({{"type", type}, {"index", index}}));
    CHECK(variables_of(launch, number).at("AZ_BATCHAI_TASK_INDEX") == old_index);
  };
  CHECK(variables_of(launch, 0).at("AZ_BATCHAI_TASK_TYPE") == "ps");
  CHECK(variables_of(launch, 1).at("AZ_BATCHAI_TASK_TYPE") == "master");
  CHECK(variables_of(launch, 2).at("AZ_BATCHAI_TASK_TYPE") == "worker");
  is(0, "ps", 0, "0");
  is(1, "chief", 0, "0");
  is(2, "worker", 0, "1");  // Batch AI's own index counts the master
  is(3, "worker", 1, "2");
  CHECK(task_script(launch, tasks[0]).find("train.py --ps") != std::string::npos);
  CHECK(task_script(launch, tasks[1]).find("train.py --master") != std::string::npos);
  CHECK(task_script(launch, tasks[3]).find("train.py --worker") != std::string::npos);
  CHECK(ports_of(launch, 0) == std::vector<std::uint32_t>{20000, 20001, 20002});
  CHECK(ports_of(launch, 1) == std::vector<std::uint32_t>{20000});
}

TEST_CASE("processes of a node have its GPUs in parts where their framework knows no local rank") {
  Launch launch = launch_of(Toolkit::tensor_flow, 2);
  launch.spec.parameter_server_count = 1;
  launch.spec.worker_count = 3;  // the first and the last on node 1
  using Gpus = std::vector<std::string>;
  const auto gpus_of = [&](std::size_t number, const Gpus& gpus) {
    return gpus_of_task(launch, tasks_of(launch), number, gpus);
  };
  const Gpus four{"g0", "g1", "g2", "g3"};
  CHECK(gpus_of(0, four).empty());  // a parameter server
  CHECK(gpus_of(1, four) == Gpus{"g0", "g1"});
  CHECK(gpus_of(2, four) == four);
  CHECK(gpus_of(3, four) == Gpus{"g2", "g3"});
  CHECK(gpus_of(3, {"g0", "g1", "g2"}) == Gpus{"g1"});
  CHECK(gpus_of(1, {"g0"}) == Gpus{"g0"});  // too few for each to have one: all have it
  CHECK(gpus_of(3, {"g0"}) == Gpus{"g0"});
  CHECK(gpus_of(3, {}).empty());
  launch.spec.toolkit = Toolkit::torchrun;
  launch.spec.process_count = 4;
  CHECK(gpus_of(1, four) == four);  // it takes that of its LOCAL_RANK
}

TEST_CASE("TensorFlow's defaults: a worker per node and a parameter server, or one process alone") {
  Launch launch = launch_of(Toolkit::tensor_flow, 3);
  CHECK(tasks_text(launch) ==
        "10.0.0.1 background ps-0\n10.0.0.1 awaited wk-0\n10.0.0.2 awaited wk-1\n10.0.0.3 awaited wk-2\n");
  launch.spec.parameter_server_count = 0;
  CHECK(tasks_of(launch).size() == 3);
  CHECK_FALSE(tf_config(launch, 0)["cluster"].contains("ps"));
  Launch alone = launch_of(Toolkit::tensor_flow, 1);
  CHECK(tasks_text(alone) == "10.0.0.1 awaited wk-0\n");
  CHECK_FALSE(variables_of(alone, 0).contains("TF_CONFIG"));
  CHECK(ports_of(alone, 0).empty());
  alone.spec.worker_count = 2;
  CHECK(tasks_of(alone).size() == 3);
}

TEST_CASE("pyTorch without MPI: ranks in blocks, a rendezvous at the first node") {
  Launch launch = launch_of(Toolkit::py_torch, 2);
  launch.spec.process_count = 3;
  launch.spec.command_line_args = "--dist-url $AZ_BATCHAI_PYTORCH_INIT_METHOD --rank $AZ_BATCHAI_TASK_INDEX";
  CHECK(tasks_text(launch) == "10.0.0.1 awaited 0\n10.0.0.1 awaited 1\n10.0.0.2 awaited 2\n");
  const Variables first = variables_of(launch, 1), last = variables_of(launch, 2);
  CHECK(first.at("RANK") == "1");
  CHECK(first.at("LOCAL_RANK") == "1");
  CHECK(first.at("LOCAL_WORLD_SIZE") == "2");
  CHECK(last.at("RANK") == "2");
  CHECK(last.at("LOCAL_RANK") == "0");
  CHECK(last.at("LOCAL_WORLD_SIZE") == "1");
  CHECK(last.at("WORLD_SIZE") == "3");
  CHECK(last.at("MASTER_ADDR") == "10.0.0.1");
  CHECK(last.at("MASTER_PORT") == "20000");
  CHECK(last.at("AZ_BATCHAI_TASK_INDEX") == "2");
  CHECK(last.at("AZ_BATCHAI_PYTORCH_INIT_METHOD") == "tcp://10.0.0.1:20000");
  CHECK(last.at("AZ_BATCHAI_PYTORCH_BACKEND") == "gloo");
  CHECK(ports_of(launch, 0) == std::vector<std::uint32_t>{20000});
  CHECK(ports_of(launch, 1).empty());
  launch.spec.communication_backend = CommunicationBackend::mpi;
  CHECK(tasks_of(launch).empty());
  CHECK(head_script(launch, {}, {}).find("mpirun") != std::string::npos);
  CHECK(head_script(launch, {}, {}).find("AZ_BATCHAI_TASK_INDEX=\"${OMPI_COMM_WORLD_RANK:-") != std::string::npos);
}

TEST_CASE("torchrun and jax: processes per node; caffe2: one per node") {
  Launch torch = launch_of(Toolkit::torchrun, 2);
  torch.spec.processes_per_node = 2;
  const Variables rank = variables_of(torch, 3);
  CHECK(rank.at("RANK") == "3");
  CHECK(rank.at("WORLD_SIZE") == "4");
  CHECK(rank.at("LOCAL_RANK") == "1");
  CHECK(rank.at("LOCAL_WORLD_SIZE") == "2");
  CHECK(rank.at("NODE_RANK") == "1");
  CHECK(rank.at("MASTER_ADDR") == "10.0.0.1");
  CHECK(rank.at("MASTER_PORT") == "20000");
  Launch jax = launch_of(Toolkit::jax, 2);
  const Variables process = variables_of(jax, 1);
  CHECK(process.at("JAX_COORDINATOR_ADDRESS") == "10.0.0.1:20000");
  CHECK(process.at("JAX_NUM_PROCESSES") == "2");
  CHECK(process.at("JAX_PROCESS_ID") == "1");
  CHECK_FALSE(process.contains("MASTER_ADDR"));
  Launch caffe2 = launch_of(Toolkit::caffe2, 3);
  CHECK(tasks_of(caffe2).size() == 3);
  CHECK(variables_of(caffe2, 2).at("AZ_BATCHAI_TASK_INDEX") == "2");
  CHECK(ports_of(caffe2, 0).empty());
}

TEST_CASE("a parameter server sees no GPU; processes without a local rank share the node's evenly") {
  const std::vector<std::string> gpus{"GPU-a", "GPU-b", "GPU-c", "GPU-d"};
  Launch launch = launch_of(Toolkit::tensor_flow, 1);
  launch.spec.worker_count = 2;
  CHECK(variables_of(launch, 0, gpus).at("CUDA_VISIBLE_DEVICES").empty());
  CHECK(variables_of(launch, 1, gpus).at("CUDA_VISIBLE_DEVICES") == "GPU-a,GPU-b");
  CHECK(variables_of(launch, 2, gpus).at("CUDA_VISIBLE_DEVICES") == "GPU-c,GPU-d");
  CHECK(variables_of(launch, 2, gpus).at("AZ_BATCHAI_NUM_GPUS") == "4");
  Launch torch = launch_of(Toolkit::torchrun, 1);
  torch.spec.processes_per_node = 2;
  CHECK(variables_of(torch, 1, gpus).at("CUDA_VISIBLE_DEVICES") == "GPU-a,GPU-b,GPU-c,GPU-d");  // by LOCAL_RANK
}

TEST_CASE("a user's variable may refer to the task's") {
  Launch launch = launch_of(Toolkit::caffe2, 2);
  launch.spec.environment = {{"SHARD", "shard-$AZ_BATCHAI_TASK_INDEX"}};
  CHECK(variables_of(launch, 1).at("SHARD") == "shard-1");
}

TEST_CASE("cntk and caffe: a configuration or a script, under MPI only with several processes") {
  Launch cntk = launch_of(Toolkit::cntk, 1);
  cntk.spec.python_script_file_path.clear();
  cntk.spec.config_file_path = "$AZ_BATCHAI_INPUT_CONFIG/ConvNet.cntk";
  cntk.spec.command_line_args = "rootDir=.";
  const std::string alone = head_script(cntk, {}, {});
  CHECK(alone.find("exec cntk configFile=$AZ_BATCHAI_INPUT_CONFIG/ConvNet.cntk rootDir=.") != std::string::npos);
  CHECK(alone.find("mpirun") == std::string::npos);
  cntk.spec.process_count = 2;
  CHECK(head_script(cntk, {}, {}).find("'-np' '2'") != std::string::npos);
  Launch caffe = launch_of(Toolkit::caffe, 1);
  CHECK(head_script(caffe, {}, {}).find("train.py") != std::string::npos);
  caffe.spec.python_script_file_path.clear();
  caffe.spec.config_file_path = "solver.prototxt";
  CHECK(head_script(caffe, {}, {}).find("exec caffe train --solver=solver.prototxt") != std::string::npos);
}

TEST_CASE("a port that somebody listens at is found") {
  const UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  REQUIRE(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size) == 0);
  REQUIRE(::listen(fd.get(), 1) == 0);
  REQUIRE(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0);
  const std::uint32_t port = ntohs(address.sin_port);
  CHECK(port_in_use({port}) == port);
  CHECK_FALSE(port_in_use({}).has_value());
}

// ---- What is said of a failure ----

namespace {

std::string detail(const NodeError& error, const std::string& name) {
  for (const auto& item : error.details) {
    if (item.name == name) return item.value;
  }
  return "<none>";
}

const std::string kLine(74, '-');

}  // namespace

TEST_CASE("the first failing task is named with its node, code or signal, and last lines") {
  Launch launch = launch_of(Toolkit::tensor_flow, 2);
  launch.spec.worker_count = 2;
  const NodeError worker = job_failure(launch, 3, "noise\n" + task_failure_line({2, 3, "Traceback\nboom"}) + "\n");
  CHECK(worker.code == "JobFailed");
  CHECK(worker.message == "worker 1 on node n2 ended with exit code 3");
  CHECK(detail(worker, "task") == "wk-1");
  CHECK(detail(worker, "node") == "n2");
  CHECK(detail(worker, "exitCode") == "3");
  CHECK(detail(worker, "signal") == "<none>");
  CHECK(detail(worker, "lastLines") == "Traceback\nboom");
  CHECK_FALSE(worker.infrastructure);
  const NodeError rank = job_failure(launch_of(Toolkit::caffe2, 3), 139, task_failure_line({1, 139, ""}));
  CHECK(rank.message == "rank 1 on node n2 was killed by signal 11 (SIGSEGV)");
  CHECK(detail(rank, "rank") == "1");
  CHECK(detail(rank, "signal") == "11 (SIGSEGV)");
  CHECK(detail(rank, "lastLines") == "<none>");
  // Whatever else stands there: the code is said.
  for (const std::string& odd : {std::string(), std::string("\n\n"), std::string("{}"), std::string("{\"task\":-1}"),
                                 std::string("{\"task\":77,\"exitCode\":1,\"message\":\"\"}")}) {
    CHECK(job_failure(launch, 7, odd).message == "the job's command ended with exit code 7");
  }
}

TEST_CASE("a command of the first node alone failed there") {
  const NodeError error = job_failure(launch_of(Toolkit::custom, 2), 2, "rm: no such file\n");
  CHECK(error.message == "the job's command on node n1 ended with exit code 2");
  CHECK(detail(error, "lastLines") == "rm: no such file");
}

TEST_CASE("what Open MPI says of the first failing rank") {
  Launch launch = launch_of(Toolkit::horovod, 2);
  launch.spec.process_count = 4;
  const NodeError killed = job_failure(launch, 137,
                                       "training\nlost\n" + kLine +
                                           "\nmpirun noticed that process rank 2 with PID 0 on node 10.0.0.2 "
                                           "exited on signal 9 (Killed).\n" +
                                           kLine + "\n");
  CHECK(killed.message == "rank 2 on node n2 was killed by signal 9 (SIGKILL)");
  CHECK(detail(killed, "lastLines") == "training\nlost");
  const NodeError code =
      job_failure(launch, 3,
                  "ValueError: bad\n" + kLine +
                      "\nPrimary job  terminated normally, but 1 process returned\n"
                      "a non-zero exit code. Per user-direction, the job has been aborted.\n" +
                      kLine + "\n" + kLine +
                      "\nmpirun detected that one or more processes exited with non-zero status, thus causing\n"
                      "the job to be terminated. The first process to do so was:\n\n"
                      "  Process name: [[52127,1],1]\n  Exit code:    3\n" +
                      kLine + "\n");
  CHECK(code.message == "rank 1 on node n1 ended with exit code 3");
  CHECK(detail(code, "rank") == "1");
  CHECK(detail(code, "lastLines") == "ValueError: bad");
  const NodeError aborted = job_failure(
      launch, 7, kLine + "\nMPI_ABORT was invoked on rank 3 in communicator MPI_COMM_WORLD\nwith errorcode 7.\n");
  CHECK(aborted.message == "rank 3 on node n2 ended with exit code 7");
  launch.spec.process_count = 3;  // not even: round the nodes
  CHECK(job_failure(launch, 1, "The first process to do so was:\n\n  Process name: [[1,1],2]\n  Exit code:    1\n")
            .message == "rank 2 on node n1 ended with exit code 1");
}

TEST_CASE("what Hydra says of the first failing process") {
  const NodeError error =
      job_failure(launch_of(Toolkit::custom_mpi, 2), 139,
                  "x\n" + std::string(83, '=') +
                      "\n=   BAD TERMINATION OF ONE OF YOUR APPLICATION PROCESSES\n"
                      "=   PID 4711 RUNNING AT 10.0.0.2\n=   EXIT CODE: 139\n=   CLEANING UP REMAINING PROCESSES\n");
  CHECK(error.message == "a rank on node n2 was killed by signal 11 (SIGSEGV)");
  CHECK(detail(error, "lastLines") == "x");
}

TEST_CASE("last lines are whole lines, or the end of one that is too long") {
  CHECK(last_lines("a\nb\n\n", 100) == "a\nb");
  CHECK(last_lines("first\nsecond\nthird\n", 12) == "third");
  CHECK(last_lines(std::string(50, 'x'), 10) == std::string(10, 'x'));
  CHECK(last_lines("", 10).empty());
  CHECK(task_of_key("task-12") == 12);
  for (const char* other : {"task-", "task-1x", "12-34", "task--1", "xtask-1"})
    CHECK_FALSE(task_of_key(other).has_value());
}
