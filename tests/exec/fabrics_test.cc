// What MPI, NCCL and gloo are told of a node's networks, by what the probe found there.
#include <catch2/catch.hpp>

#include "agent/exec/mpirun.h"
#include "agent/exec/toolkits.h"
#include "agent/probe/inventory.h"
#include "tests/exec/sysfs.h"

using namespace trainyard;
using namespace trainyard::agent;
using trainyard::test::Sysfs;

namespace {

NodeFacts with(std::vector<Fabric> fabrics) {
  NodeFacts facts;
  facts.network_cidr = "10.91.0.0/24";
  facts.interface = "eth0";
  facts.fabrics = std::move(fabrics);
  return facts;
}

Launch two_nodes() {
  Launch launch;
  launch.spec.toolkit = Toolkit::custom_mpi;
  launch.spec.node_count = 2;
  launch.members = {{"n1", "10.91.0.11"}, {"n2", "10.91.0.12"}};
  return launch;
}

std::string parameter(const NodeFacts& facts, const std::string& name) {
  const auto words = mpirun_arguments(two_nodes(), {}, facts);
  for (std::size_t i = 0; i + 2 < words.size(); ++i) {
    if (words[i] == "--mca" && words[i + 1] == name) return words[i + 2];
  }
  return "<unset>";
}

std::string variable(const NodeFacts& facts, const std::string& name) {
  for (const NamedValue& each : job_environment(two_nodes(), 0, {}, {}, facts)) {
    if (each.name == name) return each.value;
  }
  return "<unset>";
}

}  // namespace

TEST_CASE("without adapters MPI and NCCL use TCP on the cluster's interface") {
  const NodeFacts facts = with({});
  CHECK(parameter(facts, "pml") == "ob1");
  CHECK(parameter(facts, "btl_tcp_if_include") == "10.91.0.0/24");
  CHECK(variable(facts, "OMPI_MCA_pml") == "ob1");
  CHECK(variable(facts, "NCCL_SOCKET_IFNAME") == "eth0");
  CHECK(variable(facts, "GLOO_SOCKET_IFNAME") == "eth0");
  CHECK(variable(facts, "NCCL_IB_DISABLE") == "1");
  CHECK(variable(facts, "NCCL_IB_HCA") == "<unset>");
  CHECK(variable(facts, "UCX_NET_DEVICES") == "<unset>");
}

TEST_CASE("with InfiniBand adapters MPI uses UCX and NCCL exactly them; what starts the ranks stays on TCP") {
  const NodeFacts facts = with({{Fabric::Kind::infiniband, "mlx5_0", 1}, {Fabric::Kind::infiniband, "mlx5_10", 2}});
  CHECK(parameter(facts, "pml") == "ucx");
  CHECK(parameter(facts, "oob_tcp_if_include") == "10.91.0.0/24");
  CHECK(variable(facts, "OMPI_MCA_pml") == "ucx");
  CHECK(variable(facts, "UCX_NET_DEVICES") == "mlx5_0:1,mlx5_10:2");
  CHECK(variable(facts, "NCCL_IB_HCA") == "=mlx5_0:1,mlx5_10:2");
  CHECK(variable(facts, "NCCL_IB_DISABLE") == "<unset>");
  CHECK(variable(facts, "NCCL_SOCKET_IFNAME") == "eth0");  // NCCL's own start
}

TEST_CASE("RoCE adapters are used like InfiniBand's") {
  const NodeFacts facts = with({{Fabric::Kind::roce, "rocep1s0", 1}});
  CHECK(parameter(facts, "pml") == "ucx");
  CHECK(variable(facts, "NCCL_IB_HCA") == "=rocep1s0:1");
}

TEST_CASE("an mpirun of the job's own binds no rank where the job has a part of the node; on a whole one it may") {
  NodeFacts facts = with({});
  CHECK(variable(facts, "OMPI_MCA_hwloc_base_binding_policy") == "<unset>");
  facts.part = true;
  CHECK(variable(facts, "OMPI_MCA_hwloc_base_binding_policy") == "none");
}

TEST_CASE("a job's own variable wins") {
  Launch launch = two_nodes();
  launch.spec.environment = {{"NCCL_IB_HCA", "mlx5_3"}};
  for (const NamedValue& each : job_environment(launch, 0, {}, {}, with({{Fabric::Kind::roce, "mlx5_0", 1}}))) {
    if (each.name == "NCCL_IB_HCA") CHECK(each.value == "mlx5_3");
  }
}

TEST_CASE("the probe finds adapters with a port that is up, and what they are") {
  const Sysfs sys;
  CHECK(find_fabrics(sys.path()).empty());
  sys.port("mlx5_1", 1, "4: ACTIVE", "InfiniBand");
  sys.port("mlx5_0", 1, "1: DOWN", "InfiniBand");
  sys.port("mlx5_0", 2, "4: ACTIVE", "Ethernet");
  sys.port("mlx5_2", 1, "2: INIT", "InfiniBand");
  const std::vector<Fabric> expected{{Fabric::Kind::roce, "mlx5_0", 2}, {Fabric::Kind::infiniband, "mlx5_1", 1}};
  CHECK(find_fabrics(sys.path()) == expected);
}

TEST_CASE("the NUMA node of a GPU is read from its PCI device") {
  const Sysfs sys;
  sys.file("bus/pci/devices/0000:3b:00.0/numa_node", "1\n");
  CHECK(numa_node_of("00000000:3B:00.0", sys.path()) == 1);
  CHECK(numa_node_of("00000000:5E:00.0", sys.path()) == -1);
  CHECK(numa_node_of("", sys.path()) == -1);
}
