#include "agent/exec/mpirun.h"

#include <algorithm>

namespace trainyard::agent {
namespace {

// How an attempt's ports are divided: the first is MASTER_PORT, the next are for mpirun, which listens at each of them,
// and its orteds, which listen at one of each family (IPv6 too, though nobody connects there); the rest for the ranks'
// TCP, one each. Without them ranks begin at 1024.
constexpr std::uint32_t kDaemonPorts = 4, kFirstRankPort = 1 + 2 * kDaemonPorts,
                        kRankPorts = kTaskPorts - kFirstRankPort;

// A neighbour's processes never meet them, and a firewall knows them.
std::vector<NamedValue> port_parameters(const Launch& launch, const RankLayout& layout) {
  const auto of_daemons = [](std::uint32_t first) {
    return std::to_string(first) + "-" + std::to_string(first + kDaemonPorts - 1);
  };
  std::vector<NamedValue> parameters{{"oob_tcp_dynamic_ipv4_ports", of_daemons(launch.first_port + 1)},
                                     {"oob_tcp_dynamic_ipv6_ports", of_daemons(launch.first_port + 1 + kDaemonPorts)}};
  if (layout.per_node > kRankPorts) return parameters;
  for (const std::string family : {"v4", "v6"}) {
    parameters.push_back({"btl_tcp_port_min_" + family, std::to_string(launch.first_port + kFirstRankPort)});
    parameters.push_back({"btl_tcp_port_range_" + family, std::to_string(kRankPorts)});
  }
  return parameters;
}

// Parameters that hold for every mpirun on the cluster, ours or a user's own. Why each:
std::vector<NamedValue> common_parameters(const HoldingPaths& paths, const NodeFacts& facts) {
  std::vector<NamedValue> parameters{
      {"plm", "rsh"},
      {"plm_rsh_agent", paths.rsh_program},
      // All launches come from mpirun itself: the launchers of other nodes would not be in reach of its socket.
      {"plm_rsh_no_tree_spawn", "1"},
      // Sessions that stay count; with fewer than nodes mpirun hangs.
      {"plm_rsh_num_concurrent", "1024"},
      {"orte_keep_fqdn_hostnames", "1"},
  };
  if (!facts.network_cidr.empty()) {
    // Without them a bridge that exists on every host (docker0) is tried first and the job hangs.
    parameters.push_back({"oob_tcp_if_include", facts.network_cidr});
    parameters.push_back({"btl_tcp_if_include", facts.network_cidr});
  }
  // Which adapters UCX takes is a variable of each node (UCX_NET_DEVICES). The head decides by its own: a cluster is of
  // one kind of machine.
  const bool ucx = !facts.fabrics.empty();
  const std::vector<NamedValue> rest{
      {"oob_tcp_disable_ipv6_family", "1"},
      {"btl_tcp_disable_family", "6"},
      {"btl", "self,vader,tcp"},
      {"pml", ucx ? "ucx" : "ob1"},
      // A node that vanishes without a word is noticed after 10 + 2 * 5 seconds instead of 480.
      {"oob_tcp_keepalive_time", "10"},
      {"oob_tcp_keepalive_intvl", "2"},
      {"oob_tcp_keepalive_probes", "5"},
      // Session files are mapped by every rank: in memory they cost a start less. They go with the attempt.
      {"orte_tmpdir_base", paths.run},
  };
  parameters.insert(parameters.end(), rest.begin(), rest.end());
  return parameters;
}

}  // namespace

RankLayout rank_layout(const Launch& launch) {
  RankLayout layout;
  layout.nodes = std::max<std::uint32_t>(1, static_cast<std::uint32_t>(launch.members.size()));
  layout.ranks = launch.spec.process_count != 0 ? launch.spec.process_count : layout.nodes;
  layout.per_node = (layout.ranks + layout.nodes - 1) / layout.nodes;
  layout.even = layout.ranks % layout.nodes == 0;
  return layout;
}

std::vector<std::uint32_t> logged_ranks(const RankLayout& layout, std::uint32_t member) {
  std::vector<std::uint32_t> ranks;
  if (layout.per_node > kMostRankLogs) return ranks;
  // "ppr" fills node after node, "node" deals them out one by one.
  for (std::uint32_t rank = 0; rank < layout.ranks; ++rank) {
    if ((layout.even ? rank / layout.per_node : rank % layout.nodes) == member) ranks.push_back(rank);
  }
  return ranks;
}

std::string rank_log_directory(const RankLayout& layout, const HoldingPaths& paths, std::uint32_t rank) {
  // All numbers have as many digits as the number of ranks.
  const std::size_t digits = std::to_string(layout.ranks).size();
  std::string number = std::to_string(rank);
  number.insert(0, digits - std::min(digits, number.size()), '0');
  return paths.rank_logs + "/1/rank." + number;
}

std::vector<std::string> mpirun_arguments(const Launch& launch, const HoldingPaths& paths, const NodeFacts& facts) {
  const RankLayout layout = rank_layout(launch);
  std::vector<std::string> arguments{
      "--allow-run-as-root", "--stdin", "none", "--hostfile", paths.hostfile, "-np", std::to_string(layout.ranks),
      "--map-by", layout.even ? "ppr:" + std::to_string(layout.per_node) + ":node" : "node",
      // The default pins one or two ranks to a core each, with all their threads.
      "--bind-to", "none",
      // With no_tree_spawn alone orted would detach, and its launcher's end mean nothing.
      "--leave-session-attached"};
  if (layout.per_node <= kMostRankLogs) arguments.insert(arguments.end(), {"--output-filename", paths.rank_logs});
  auto parameters = common_parameters(paths, facts);
  const auto ports = port_parameters(launch, layout);
  parameters.insert(parameters.end(), ports.begin(), ports.end());
  // Waiting ranks must give way where there are not more cores than ranks.
  if (facts.cores != 0 && layout.per_node >= facts.cores) parameters.push_back({"mpi_yield_when_idle", "1"});
  for (const auto& parameter : parameters) {
    arguments.insert(arguments.end(), {"--mca", parameter.name, parameter.value});
  }
  return arguments;
}

std::vector<std::string> hydra_arguments(const Launch& launch, const HoldingPaths& paths, const NodeFacts& facts) {
  const RankLayout layout = rank_layout(launch);
  std::string hosts;
  for (const auto& member : launch.members) hosts += (hosts.empty() ? "" : ",") + member.address;
  std::vector<std::string> arguments{// trainyard-rsh takes what ssh would
                                     "-bootstrap", "ssh", "-bootstrap-exec", paths.rsh_program, "-disable-x",
                                     // Ranks have their own node's variables, not the first node's.
                                     "-genvnone"};
  if (!launch.members.empty()) arguments.insert(arguments.end(), {"-localhost", launch.members[0].address});
  if (!facts.interface.empty()) arguments.insert(arguments.end(), {"-iface", facts.interface});
  arguments.insert(arguments.end(),
                   {"-hosts", hosts, "-ppn", std::to_string(layout.per_node), "-n", std::to_string(layout.ranks)});
  return arguments;
}

std::string mpirun_script(const Launch& launch, const HoldingPaths& paths, const NodeFacts& facts,
                          const std::string& command) {
  const auto line = [&command](const std::vector<std::string>& arguments) {
    std::string text = "exec \"$trainyard_mpirun\"";
    for (const auto& argument : arguments) text += " " + shell_quote(argument);
    return text + " " + command;
  };
  return "trainyard_mpirun=$(command -v mpirun)\n"
         "case \"$trainyard_mpirun\" in ''|/bin/mpirun|/usr/bin/mpirun)\n"
         "  trainyard_mpirun=$(command -v mpirun.openmpi || command -v mpirun || command -v mpiexec.hydra) || "
         "{ echo 'trainyard: MPI (mpirun) is not installed on this node' >&2; exit 127; };;\n"
         "esac\n"
         "case \"$trainyard_mpirun\" in\n"
         "*/mpirun.openmpi) ;;\n"
         "*) case \"$(\"$trainyard_mpirun\" --version 2>&1)\" in *HYDRA*|*Intel*)\n" +
         line(hydra_arguments(launch, paths, facts)) + ";;\nesac;;\nesac\n" +
         line(mpirun_arguments(launch, paths, facts));
}

std::vector<NamedValue> mpirun_environment(const HoldingPaths& paths, const NodeFacts& facts) {
  std::vector<NamedValue> variables;
  for (const auto& parameter : common_parameters(paths, facts)) {
    variables.push_back({"OMPI_MCA_" + parameter.name, parameter.value});
  }
  variables.push_back({"OMPI_MCA_orte_leave_session_attached", "1"});
  // Each mpirun of a shared node would begin with the same cores; what the job may use is bound already.
  if (facts.part) variables.push_back({"OMPI_MCA_hwloc_base_binding_policy", "none"});
  variables.push_back({"OMPI_ALLOW_RUN_AS_ROOT", "1"});
  variables.push_back({"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"});
  return variables;
}

}  // namespace trainyard::agent
