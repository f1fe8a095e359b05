// trainyard-agent: one per node. Reads its configuration, looks at the machine, and runs the agent's loop.
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#include "agent/config.h"
#include "agent/containers/request.h"
#include "agent/doctor/doctor.h"
#include "agent/exec/cgroup.h"
#include "agent/exec/files.h"
#include "agent/limit_settings.h"
#include "agent/loop/agent_loop.h"
#include "agent/loop/ganesha.h"
#include "agent/probe/inventory.h"
#include "agent/probe/shares.h"
#include "agent/volumes/helper.h"
#include "agent/volumes/helper_main.h"

namespace trainyard::agent {
namespace {

constexpr int kExitConfig = 78;  // EX_CONFIG
constexpr int kExitOs = 71;      // EX_OSERR

constexpr const char* kDescription =
    "Runs this machine's part of Trainyard: dials the controller, prepares and runs jobs, reports.\n"
    "Stopping it (SIGTERM) leaves jobs running; the next start takes them up again.\n\n"
    "Example:\n"
    "  trainyard-agent doctor --config /etc/trainyard/agent.json     is this machine fit? changes nothing; --json\n"
    "  trainyard-agent --controller 10.0.0.1:7470 --node-name n1 --flavour STANDARD_NC6 --address 10.0.0.11 \\\n"
    "      --tls-certificate n1.crt --tls-key n1.key --tls-ca ca.crt\n";

void add_options(CLI::App& app, Config& config) {
  app.add_option("--controller", config.controller, "host:port of the controller")->capture_default_str();
  app.add_option("--node-name", config.node_name, "name of this node (default: the host's name)");
  app.add_option("--flavour", config.flavour, "VM size that clusters ask for, e.g. STANDARD_NC6");
  app.add_option("--topology", config.topology, "the node's place in your tree of nodes, e.g. rack=r1/leaf=l2");
  app.add_option("--pool", config.pool, "machines with one fence command")->capture_default_str();
  app.add_option("--address", config.address, "IP address on the cluster's network")->capture_default_str();
  app.add_option("--network-cidr", config.network_cidr, "that network (default: from the interface with the address)");
  app.add_option("--spool-dir", config.spool_dir, "the agent's memory, on a local disk")->capture_default_str();
  app.add_option("--run-dir", config.run_dir,
                 "sockets and session files of running jobs; the same path on every node, best in memory");
  app.add_option("--work-dir", config.work_dir, "mounts and job directories; the same path on every node")
      ->capture_default_str();
  app.add_option("--cgroup-parent", config.cgroup_parent, "below the cgroup2 root; not shared with another agent")
      ->capture_default_str();
  app.add_option("--pretend-gpus", config.pretend_gpus, "number of GPUs to claim without having them");
  app.add_option("--file-server-directory", config.file_server_directory,
                 "makes this a storage node: directory for the files of file servers that users create");
  app.add_option("--file-server-port", config.file_server_port, "NFS port of the first one; the next ones follow")
      ->capture_default_str();
  app.add_option("--tls-certificate", config.tls.certificate, "PEM file of this node's certificate");
  app.add_option("--tls-key", config.tls.key, "PEM file of its key");
  app.add_option("--tls-ca", config.tls.ca, "PEM file of the operator's CA");
  app.add_option("--part-limits", config.part_limits,
                 "cores and memory of their own for jobs that take parts of the node (true, false)")
      ->capture_default_str();
  app.add_option("--cpu-limit-percent", config.cpu_limit_percent,
                 "of one processor: the most that a job with the whole node may use; 0: no limit")
      ->capture_default_str();
  app.add_option("--isolation", config.isolation, "of jobs from the machine: full, user or none")
      ->capture_default_str();
  app.add_flag("--insecure-lab", config.insecure_lab, "no TLS although the controller is not on this machine");
  app.add_option("--heartbeat-ms", config.heartbeat_ms, "a report at least so often")->capture_default_str();
  app.add_option("--reconnect-max-ms", config.reconnect_max_ms, "longest pause between two dials")
      ->capture_default_str();
  app.add_option("--counters-every-ms", config.counters_every_ms,
                 "how often CPU, memory, network and GPUs are measured (1000 to 300000)")
      ->capture_default_str();
  app.add_option("--gpus-every-ms", config.gpus_every_ms, "how often GPUs are looked at for faults")
      ->capture_default_str();
  app.add_option("--doctor-every-ms", config.doctor_every_ms, "how often the machine is examined (doctor); 0: never")
      ->capture_default_str();
}

// The file first, then the flags over it. An error says what is wrong.
Status complete(int argc, char** argv, const std::string& file, Config& config) {
  if (!file.empty()) {
    if (auto read = read_config(file, config); !read) return read;
  }
  std::string same_file;
  CLI::App app;
  app.add_option("--config", same_file);
  add_options(app, config);
  app.parse(argc, argv);
  if (config.node_name.empty()) {
    char name[256] = "";
    ::gethostname(name, sizeof name - 1);
    config.node_name = name;
  }
  return check_config(config);
}

int parse(int argc, char** argv, std::string& file, Config& config) {
  {
    CLI::App app{kDescription, "trainyard-agent"};
    Config ignored = config;
    app.add_option("--config", file, "JSON file with the same keys (node_name, spool_dir, tls.ca, ...)");
    app.set_version_flag("--version", TRAINYARD_VERSION);
    add_options(app, ignored);
    try {
      app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
      return app.exit(error) == 0 ? -1 : kExitConfig;
    }
  }
  if (const auto completed = complete(argc, argv, file, config); !completed) {
    std::fprintf(stderr, "trainyard-agent: %s\n", completed.error().message.c_str());
    return kExitConfig;
  }
  return 0;
}

Result<std::string> directory_of_program() {
  char path[4096];
  const ssize_t size = ::readlink("/proc/self/exe", path, sizeof path - 1);
  if (size <= 0) return system_error("cannot read /proc/self/exe", errno);
  const std::string program(path, static_cast<std::size_t>(size));
  return program.substr(0, program.rfind('/'));
}

Result<LinkSettings> link_settings(const Config& config) {
  LinkSettings link{.controller = config.controller, .certificate = {}, .key = {}, .ca = {}};
  if (config.tls.certificate.empty()) return link;
  for (const auto& [file, text] : {std::pair{&config.tls.certificate, &link.certificate},
                                   std::pair{&config.tls.key, &link.key}, std::pair{&config.tls.ca, &link.ca}}) {
    auto read = read_whole_file(*file);
    if (!read) return read.error();
    *text = std::move(read).value();
  }
  return link;
}

// A start ends what no holding accounts for: with somebody else's cgroups or directories that would be their jobs.
Result<UniqueFd> lock_directory(const std::string& path, const std::string& what) {
  UniqueFd directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory.valid()) return system_error("cannot open " + path, errno);
  if (::flock(directory.get(), LOCK_EX | LOCK_NB) != 0) {
    return Error{Code::failed_precondition,
                 "another trainyard-agent uses " + what + " " + path + "; give this one its own"};
  }
  return directory;
}

Status make_parents(const std::string& path) {
  for (std::size_t slash = path.find('/', 1);; slash = path.find('/', slash + 1)) {
    if (auto made = make_local_directories({path.substr(0, slash)}); !made) return made;
    if (slash == std::string::npos) return {};
  }
}

// What the agent starts, and does not start without. The helper may also be the agent itself.
std::vector<std::string> small_programs(const std::string& directory) {
  std::vector<std::string> paths;
  for (const char* name : {"shim", "rsh", "tasks", "exec", "gpus", "container"})
    paths.push_back(directory + "/trainyard-" + name);
  return paths;
}

Status prepare_context(const Config& config, ExecutorContext& context) {
  auto root = find_cgroup2_root();
  if (!root) return root.error();
  auto programs = directory_of_program();
  if (!programs) return programs.error();
  context.node_name = config.node_name;
  context.spool_dir = config.spool_dir;
  context.volume_check_every_ms = config.volume_check_every_ms;
  context.work_dir = config.work_dir;
  context.run_dir = config.run_dir;
  context.cgroup_base = *root + "/" + config.cgroup_parent;
  context.cgroup_parent = config.cgroup_parent;
  context.shim_program = *programs + "/trainyard-shim";
  context.rsh_program = *programs + "/trainyard-rsh";
  context.exec_program = *programs + "/trainyard-exec";
  context.tasks_program = *programs + "/trainyard-tasks";
  context.gpus_program = *programs + "/trainyard-gpus";
  context.container_program = *programs + "/trainyard-container";
  context.helper_argv = {*programs + "/trainyard-helper"};
  context.isolation = config.isolation == "full"   ? Isolation::full
                      : config.isolation == "user" ? Isolation::user
                                                   : Isolation::none;
  for (const std::string& path : {config.file_server_directory, config.tls.key}) {
    if (!path.empty()) context.hidden.push_back(path);
  }
  if (!path_exists(context.helper_argv.front())) context.helper_argv = {*programs + "/trainyard-agent", "helper"};
  for (const std::string& program : small_programs(*programs)) {
    if (!path_exists(program)) {
      return Error{Code::not_found, program + " is missing: it belongs beside trainyard-agent"};
    }
  }
  for (const std::string& directory : {config.work_dir, config.run_dir}) {
    if (auto made = make_parents(directory); !made) return made;
  }
  if (auto made = make_local_directories({config.work_dir + "/jobs"}); !made) return made;
  if (auto made = make_mount_root(context); !made) return made;
  return Cgroup(context.cgroup_base).create();
}

// A node without a container runtime is one for jobs without an image all the same. The program that asks has its own
// deadlines; the loop does not run yet.
void probe_containers(const Config& config, ExecutorContext& context, Inventory& inventory) {
  RuntimeSettings& settings = context.containers;
  settings = {
      .kind = config.container_runtime,
      .socket = config.container_socket,
      .auth_file = config.container_auth_file,
      .image_directory = config.container_image_dir.empty() ? config.spool_dir + "/images" : config.container_image_dir,
      .record = config.spool_dir + "/pulled",
      .cache_bytes = static_cast<std::uint64_t>(config.image_cache_gb) * 1'000'000'000,
      .pull_limit_ms = config.image_pull_limit_ms,
      .owner = group_prefix(config)};
  FoundRuntime found{"none", {}, {}, "nothing runs containers"};
  boost::asio::io_context io(1);
  run_helper(io, {context.container_program, "probe"}, line_of({{"settings", settings}, {"request", nullptr}}), 30'000,
             [&](const HelperResult& result) {
               const auto answer = nlohmann::json::parse(result.output, nullptr, false);
               if (answer.is_object() && answer.contains("result")) {
                 found = answer["result"].get<FoundRuntime>();
               } else {
                 found.why = "the container runtime does not answer: " + result.error;
               }
             });
  io.run();
  settings.kind = found.why.empty() ? found.kind : "none";
  settings.socket = found.socket;
  inventory.container_runtime = found.why.empty() ? found.kind + " " + found.version : "none: " + found.why;
  spdlog::info("containers: {}", inventory.container_runtime);
}

// A storage node says with what it serves files, or why it cannot: it is a node for jobs all the same.
void probe_storage(const Config& config, ExecutorContext& context, Inventory& inventory) {
  if (config.file_server_directory.empty()) return;
  const char* path = std::getenv("PATH");
  const NfsSoftware software = find_nfs_software(path == nullptr ? "" : path);
  context.address = config.address;
  context.file_server_directory = config.file_server_directory;
  context.file_server_port = config.file_server_port;
  context.ganesha_program = software.program;
  inventory.file_server_software = software.program.empty() ? "none: " + software.description : software.description;
  if (!path_exists(config.file_server_directory)) {
    inventory.file_server_software =
        "none: its file_server_directory " + config.file_server_directory + " is not there";
  }
  spdlog::info("storage node: {}, files in {}", inventory.file_server_software, config.file_server_directory);
}

bool is_in_memory(const std::string& path) {
  struct statfs status {};
  return ::statfs(path.c_str(), &status) == 0 && (status.f_type == TMPFS_MAGIC || status.f_type == RAMFS_MAGIC);
}

int fail(const Error& error) {
  spdlog::critical("{}", error.message);
  spdlog::shutdown();
  return error.code == Code::invalid_argument ? kExitConfig : kExitOs;
}

// `trainyard-agent doctor`: says whether this machine is fit, and changes nothing.
int examine(const Config& config, bool as_json) {
  const auto programs = directory_of_program();
  if (!programs) return fail(programs.error());
  const auto findings = judge(look_at_machine({.node_name = config.node_name,
                                               .address = config.address,
                                               .network_cidr = config.network_cidr,
                                               .controller = config.controller,
                                               .spool_dir = config.spool_dir,
                                               .work_dir = config.work_dir,
                                               .run_dir = config.run_dir,
                                               .tls_key = config.tls.key,
                                               .isolation = config.isolation,
                                               .programs = small_programs(*programs),
                                               .programs_directory = *programs}));
  std::fputs((as_json ? findings_json(findings) : findings_table(findings)).c_str(), stdout);
  return doctor_exit_code(findings);
}

LoopSettings loop_settings(const Config& config) {
  return {.core = {.report_every_ms = config.heartbeat_ms},
          .reconnect_max_ms = config.reconnect_max_ms,
          .counters_every_ms = config.counters_every_ms,
          .watch = {.gpus_every_ms = config.gpus_every_ms, .doctor_every_ms = config.doctor_every_ms}};
}

struct CommandLine {
  int argc = 0;
  char** argv = nullptr;
  std::string file;
};

// The words that examine the machine as this agent is configured.
std::vector<std::string> doctor_words(const std::string& directory, const CommandLine& line) {
  std::vector<std::string> words{directory + "/trainyard-agent", "doctor"};
  words.insert(words.end(), line.argv + 1, line.argv + line.argc);
  words.push_back("--json");
  return words;
}

// SIGHUP: what a running agent can change is changed, the rest is named. A file with a mistake changes nothing.
void reload(const CommandLine& line, Config& config, std::uint64_t memory_bytes, ExecutorContext& context,
            AgentLoop& loop) {
  Config wanted;
  if (const auto completed = complete(line.argc, line.argv, line.file, wanted); !completed) {
    return spdlog::error("configuration not reloaded, nothing is changed: {}", completed.error().message);
  }
  // What the operator has mounted meanwhile counts.
  const Controllers controllers = controllers_for(config, context);
  if (const auto kept = check_limits(wanted, controllers); !kept) {
    return spdlog::error("configuration not reloaded, nothing is changed: {}", kept.error().message);
  }
  for (const std::string& name : needs_restart(config, wanted)) {
    spdlog::warn("{} has changed in the configuration: needs a restart", name);
  }
  config.memory_limit_mb = wanted.memory_limit_mb;
  config.process_limit = wanted.process_limit;
  config.log_limit_mb = wanted.log_limit_mb;
  config.cpu_limit_percent = wanted.cpu_limit_percent;
  config.disk_limits = wanted.disk_limits;
  config.heartbeat_ms = wanted.heartbeat_ms;
  config.reconnect_max_ms = wanted.reconnect_max_ms;
  config.counters_every_ms = wanted.counters_every_ms;
  context.controllers = controllers;
  set_limits(config, memory_bytes, context);
  loop.reload(loop_settings(config));
  spdlog::info("configuration reloaded{}", line.file.empty() ? " (there is no file: only its flags count)" : "");
}

void on_hangup(boost::asio::signal_set& signals, const std::function<void()>& what) {
  signals.async_wait([&signals, what](const boost::system::error_code& error, int) {
    if (error) return;
    what();
    on_hangup(signals, what);
  });
}

// What jobs are told of the machine.
void take_facts(const ProbeResult& probed, ExecutorContext& context) {
  context.facts.network_cidr = probed.inventory.network_cidr;
  context.facts.interface = probed.interface;
  context.facts.cores = probed.inventory.cores;
  context.facts.fabrics = probed.inventory.fabrics;
  context.facts.gpu_count = static_cast<std::uint32_t>(probed.inventory.gpus.size());
  for (const Gpu& gpu : probed.inventory.gpus) {
    if (gpu.pretend) context.facts.pretend_gpus.insert(gpu.uuid);
  }
  context.gpus = probed.inventory.gpus;
}

int run(Config config, const CommandLine& line) {
  boost::asio::io_context io(1);
  ExecutorContext context{.io = io};
  if (const auto prepared = prepare_context(config, context); !prepared) return fail(prepared.error());
  const auto cgroup_lock = lock_directory(context.cgroup_base, "the cgroup_parent");
  if (!cgroup_lock) return fail(cgroup_lock.error());
  const auto work_lock = lock_directory(config.work_dir, "the work_dir");
  if (!work_lock) return fail(work_lock.error());
  auto boot = boot_identity();
  if (!boot) return fail(boot.error());
  auto spool = SpoolDirectory::open(config.spool_dir, *boot);
  if (!spool) return fail(spool.error());
  auto link = link_settings(config);
  if (!link) return fail(link.error());
  auto key = secrets::NodeKey::open(config.run_dir + "/sealing.key");
  if (!key) return fail(key.error());
  context.key = &*key;
  if (!is_in_memory(config.run_dir)) {
    spdlog::warn("run_dir {} is not in memory (tmpfs): secrets of jobs would be written to its disk", config.run_dir);
  }
  auto probed = probe({config.node_name, config.flavour, config.pool, config.address, config.network_cidr,
                       config.pretend_gpus, config.topology});
  if (!probed) return fail(probed.error());
  context.controllers = controllers_for(config, context);
  if (const auto kept = check_limits(config, context.controllers); !kept) return fail(kept.error());
  set_limits(config, probed->inventory.memory_bytes, context);
  const auto cores = config.part_limits ? find_cores("/sys", allowed_cpus()) : std::vector<Core>();
  share_cores(cores, probed->inventory.gpus);
  probed->inventory.sealing_key = key->public_key();
  take_facts(*probed, context);
  spdlog::info("trainyard-agent {} on node {} ({}, {} GPUs), controller {}", TRAINYARD_VERSION, config.node_name,
               config.flavour, context.facts.gpu_count, config.controller);
  probe_storage(config, context, probed->inventory);
  probe_containers(config, context, probed->inventory);
  LoopSettings settings = loop_settings(config);
  settings.watch.cores = cores;
  if (config.doctor_every_ms != 0) {
    settings.watch.doctor = doctor_words(context.gpus_program.substr(0, context.gpus_program.rfind('/')), line);
  }
  AgentLoop loop(context, settings, std::move(link).value(), std::move(spool).value(), probed->inventory);
  boost::asio::signal_set hangups(io, SIGHUP), signals(io, SIGTERM, SIGINT);
  signals.async_wait([&loop, &hangups](const boost::system::error_code& error, int) {
    if (error) return;
    hangups.cancel();
    loop.shut_down();
  });
  on_hangup(hangups, [&] { reload(line, config, probed->inventory.memory_bytes, context, loop); });
  loop.start();
  io.run();
  spdlog::shutdown();
  // gRPC's threads may still hold calls that were cancelled: what matters is on disk, so the process just ends.
  std::_Exit(loop.exit_code());
}

}  // namespace
}  // namespace trainyard::agent

int main(int argc, char** argv) {
  using namespace trainyard::agent;
  if (argc > 1 && std::strcmp(argv[1], "helper") == 0) return helper_main(argc - 1, argv + 1);
  Config config;
  const bool doctor = argc > 1 && std::strcmp(argv[1], "doctor") == 0;
  bool as_json = false;
  if (doctor) {
    // The agent's own flags and configuration, and whether a program reads the answer.
    for (int i = 2; i < argc; ++i) argv[i - 1] = argv[i];
    --argc;
    as_json = argc > 1 && std::strcmp(argv[argc - 1], "--json") == 0;
    if (as_json) --argc;
    if (config.flavour.empty()) config.flavour = "not-asked-for";
  }
  CommandLine line{argc, argv, {}};
  if (const int status = parse(argc, argv, line.file, config); status != 0) return status < 0 ? 0 : status;
  if (doctor) return examine(config, as_json);
  spdlog::set_default_logger(spdlog::stderr_logger_st("agent"));
  spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%e %L %v");
  std::signal(SIGPIPE, SIG_IGN);
  ::prctl(PR_SET_DUMPABLE, 0);  // a core dump would have secrets in it
  return run(std::move(config), line);
}
