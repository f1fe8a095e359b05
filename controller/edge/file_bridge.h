// File calls: a user's call on one side, an agent's ServeFile stream on the other, and between them an exchange that
// finds a node, waits for its stream and hands the parts over one at a time, so that a slow side slows the other down
// and never more than a few chunks are kept. Everything here runs on the bridge's one strand unless it says otherwise.
#pragma once

#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <map>
#include <optional>

#include "controller/edge/agent_registry.h"

namespace trainyard::controller {

class FileBridge;
class FileExchange;

// The user's side. `exchange` tells apart the calls of a side that asks more than once.
class FileSink {
 public:
  virtual ~FileSink() = default;
  virtual void on_ready(FileExchange&) {}              // an agent has the operation; data may be sent
  virtual void on_data(FileExchange&, std::string) {}  // call resume() for more
  virtual void on_listing(FileExchange&, v1::FileListing) {}
  virtual void on_sent(FileExchange&) {}  // data on its way to the agent got less
  // The last call. UNAVAILABLE: no agent could do it, or it went away.
  virtual void on_done(FileExchange&, const Result<v1::FileDone>& result) = 0;
};

// An agent's ServeFile stream.
class AgentFile : public grpc::ServerBidiReactor<v1::FileReply, v1::FileRequest>,
                  public std::enable_shared_from_this<AgentFile> {
 public:
  AgentFile(FileBridge& bridge, Identity identity) : x_bridge(bridge), x_identity(std::move(identity)) {}
  void start();  // any thread; lives from here until gRPC is done with it

  const Identity& identity() const { return x_identity; }
  void attach(std::shared_ptr<FileExchange> exchange);
  void send(v1::FileRequest request);
  std::size_t unsent() const { return x_unsent.size(); }
  void read();
  void end(grpc::Status status);

 private:
  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;
  template <class Task>
  void on_strand(Task task);
  void on_read(bool ok);
  void pump();

  FileBridge& x_bridge;
  const Identity x_identity;
  std::shared_ptr<FileExchange> x_exchange;
  v1::FileReply x_in;
  v1::FileRequest x_out;
  std::deque<v1::FileRequest> x_unsent;
  bool x_writing = false, x_reading = false, x_ended = false;
  std::shared_ptr<AgentFile> x_self;
};

struct FileTarget {
  v1::FileOperation operation;
  std::string preferred_node;  // asked first when it is reachable
  // The key or password that its user gave for the volume, and where (as the vault knows it).
  std::optional<SealedValue> credential = std::nullopt;
  std::string workspace = {};
};

// Says in an operation which files it is about.
void put_volume(const Volume& volume, v1::FileOperation& operation);

class FileExchange : public std::enable_shared_from_this<FileExchange> {
 public:
  FileExchange(FileBridge& bridge, FileTarget target, std::weak_ptr<FileSink> sink);
  void start();
  // The user is gone or asks anew: the sink hears nothing more.
  void cancel();

  void resume();                     // the next part may come
  void send_data(std::string data);  // of a write
  void send_finish();                // of a write: all sent; of a follow: stop at the end
  std::size_t unsent() const { return x_agent ? x_agent->unsent() : 0; }

  // From the agent's side.
  void attached(std::shared_ptr<AgentFile> agent);
  void on_reply(v1::FileReply reply);
  void on_agent_sent();
  void on_broken();
  const std::string& node() const { return x_node; }

 private:
  // `keys`: of nodes, to which what they get in secret is sealed.
  void choose(const std::vector<std::shared_ptr<AgentStream>>& streams, const std::map<std::string, std::string>& keys);
  void try_another(const Error& error);
  void finish(const Result<v1::FileDone>& result);

  FileBridge& x_bridge;
  FileTarget x_target;
  std::weak_ptr<FileSink> x_sink;
  std::shared_ptr<AgentFile> x_agent;
  boost::asio::steady_timer x_timer;
  std::string x_call_id, x_node;
  std::string x_tried;  // the node that did not answer
  int x_tries = 0;
  bool x_done = false, x_finish_wanted = false;
};

class FileBridge {
 public:
  using Strand = boost::asio::strand<boost::asio::thread_pool::executor_type>;

  FileBridge(Context& context_in, AgentRegistry& registry_in)
      : context(context_in),
        registry(registry_in),
        strand(boost::asio::make_strand(context_in.workers.get_executor())) {}

  void expect(const std::string& call_id, const std::shared_ptr<FileExchange>& exchange) {
    x_expected[call_id] = exchange;
  }
  void forget(const std::string& call_id) { x_expected.erase(call_id); }
  // The exchange that waits for this call's stream, once; null: none (any more).
  std::shared_ptr<FileExchange> take(const std::string& call_id);

  Context& context;
  AgentRegistry& registry;
  Strand strand;

 private:
  std::map<std::string, std::weak_ptr<FileExchange>> x_expected;
};

}  // namespace trainyard::controller
