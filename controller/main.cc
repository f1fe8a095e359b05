// trainyard-controller: reads its configuration, opens the store, starts the loop and the server, and runs until told
// to stop (exit 0) or until the state cannot be written (exit 1). Exit 78: the configuration must not be started.
#include <absl/synchronization/mutex.h>
#include <grpc/support/log.h>
#include <pthread.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <future>
#include <thread>

#include "common/wall_clock.h"
#include "controller/edge/context.h"
#include "controller/edge/counter_keeper.h"
#include "controller/edge/edge.h"
#include "controller/edge/server.h"
#include "controller/loop/loop.h"
#include "storage/sqlite_store.h"

namespace {

using namespace trainyard;
using namespace trainyard::controller;

constexpr int kBadConfiguration = 78;
constexpr int kAcceptIsDead = 70;
constexpr std::chrono::seconds kProbeEvery(5), kProbeLimit(3);
constexpr std::chrono::milliseconds kShutdownGrace(500);

struct Flags {
  std::string config_file, listen, state_dir;
  bool insecure_lab = false, verbose = false;
};

void set_up_logging(bool verbose) {
  auto log = spdlog::stderr_logger_mt("controller");
  log->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %l %v");
  log->set_level(verbose ? spdlog::level::debug : spdlog::level::info);
  log->flush_on(spdlog::level::info);
  spdlog::set_default_logger(log);
  // Peers that fail to shake hands are their own problem; what matters comes back as an error from the calls.
  gpr_set_log_function([](gpr_log_func_args* args) { spdlog::debug("grpc: {}", args->message); });
}

int refuse(const Error& error) {
  spdlog::critical("not started: {}", error.message);
  return kBadConfiguration;
}

Result<Config> configuration(const Flags& flags) {
  Config config;
  if (!flags.config_file.empty()) {
    auto loaded = load_config(flags.config_file);
    if (!loaded) return loaded.error();
    config = std::move(loaded).value();
  }
  if (!flags.listen.empty()) config.listen = flags.listen;
  if (!flags.state_dir.empty()) config.state_dir = flags.state_dir;
  if (flags.insecure_lab) config.insecure_lab = true;
  if (const Status status = check_security(config); !status) return status.error();
  return config;
}

// The tables of the store; a new database gets its generation, on disk, before anybody hears of it.
Result<core::Tables> load(storage::Store& store) {
  auto tables = store.load();
  if (!tables || !tables->meta.store_generation.empty()) return tables;
  core::Changes first;
  first.meta = tables->meta;
  first.meta.store_generation = random_hex(8);
  if (const Status status = store.commit(first); !status) return status.error();
  tables->meta = first.meta;
  return tables;
}

// gRPC must answer new connections; a server that does not is replaced by whoever restarts this process.
void probe_until_stopped(std::string address, std::future<void> stopped) {
  int failures = 0;
  while (stopped.wait_for(kProbeEvery) == std::future_status::timeout) {
    failures = probe(address, kProbeLimit) ? 0 : failures + 1;
    if (failures < 3) continue;
    spdlog::critical("new connections to {} are not answered any more: the controller ends", address);
    spdlog::shutdown();
    std::_Exit(kAcceptIsDead);
  }
}

int serve(const Config& config, const sigset_t& signals) {
  storage::SqliteOptions options;
  options.space.floor_bytes = config.free_space_floor_mb << 20;
  auto store = storage::SqliteStore::open(config.state_dir, options);
  if (!store) return refuse(store.error());
  auto tables = load(**store);
  if (!tables) {
    spdlog::critical("the state in {} cannot be read: {}", config.state_dir, tables.error().message);
    return 1;
  }
  for (const std::string& warning : (*store)->take_warnings()) spdlog::warn("{}", warning);
  spdlog::info("state of {}: {} jobs, {} clusters, {} nodes, {} holdings", config.state_dir, tables->jobs.size(),
               tables->clusters.size(), tables->nodes.size(), tables->holdings.size());

  auto vault = secrets::Vault::open(config.secrets_key_file.empty() ? config.state_dir + "/secrets.key"
                                                                    : config.secrets_key_file);
  if (!vault) return refuse(vault.error());

  Loop loop(config.timing, **store, std::move(tables).value(), wall_clock_ms(), config.scheduling);
  // Before the edge, so that it outlives it.
  CounterKeeper counters(config.state_dir + "/counters.db", [&] { return (*store)->accepts_new_work(); });
  Edge edge(loop, **store, config, std::move(vault).value(), counters);
  auto server = Server::start(config, edge.services());
  if (!server) return refuse(server.error());
  if (!config.tls) spdlog::warn("no TLS: everybody who can reach {} may do everything", (*server)->address());
  spdlog::info("listening on {}", (*server)->address());

  std::promise<void> stop_probing;
  std::thread prober(probe_until_stopped, (*server)->address(), stop_probing.get_future());
  // Calls are ended while the loop still answers; then the loop stops.
  std::thread stopper([&] {
    int signal = 0;
    sigwait(&signals, &signal);
    spdlog::info("stopping on signal {}", signal);
    (*server)->shutdown(kShutdownGrace);
    loop.stop();
  });
  const int code = loop.run(edge);
  if (code != 0) {
    // What waits for an answer must never get one: no orderly end.
    spdlog::shutdown();
    std::_Exit(code);
  }
  stopper.join();
  stop_probing.set_value();
  prober.join();
  server->reset();
  spdlog::info("stopped");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Flags flags;
  CLI::App app("Trainyard's controller: keeps clusters, queues and jobs, and tells the agents what to run.");
  app.footer(
      "Example:\n"
      "  trainyard-controller --config /etc/trainyard/controller.json\n"
      "  trainyard-controller --listen 127.0.0.1:7470 --state-dir /var/lib/trainyard\n"
      "Flags override the file. Exit code 78: the configuration was refused; the reason is the last line.");
  app.add_option("--config", flags.config_file, "JSON file with the configuration");
  app.add_option("--listen", flags.listen, "HOST:PORT to serve on (default 127.0.0.1:7470; port 0: any)");
  app.add_option("--state-dir", flags.state_dir, "directory of the database (default /var/lib/trainyard)");
  app.add_flag("--insecure-lab", flags.insecure_lab, "serve without TLS on any address: everybody may do everything");
  app.add_flag("--verbose", flags.verbose, "log more");
  app.set_version_flag("--version", "trainyard-controller " TRAINYARD_VERSION);
  CLI11_PARSE(app, argc, argv);

  set_up_logging(flags.verbose);
  // Before any thread starts: every thread inherits the mask, and one waits for the signals.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  ::prctl(PR_SET_DUMPABLE, 0);  // a core dump would have secrets in it
  raise_descriptor_limit();
  // Debian builds abseil with the search for deadlocks on; in gRPC's own locks it only costs time.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);

  const auto config = configuration(flags);
  if (!config) return refuse(config.error());
  return serve(*config, signals);
}
