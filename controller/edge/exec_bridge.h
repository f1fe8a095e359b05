// Commands on nodes: a user's call on one side, the agent's ServeExec stream on the other, and between them a session
// that hands messages over one at a time per direction. Whichever side goes away, the other is ended: the agent then
// kills what runs. Sessions keep themselves alive by their two ends. All work is on the bridge's strand.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <map>
#include <optional>

#include "controller/edge/agent_registry.h"
#include "controller/edge/duplex.h"

namespace trainyard::controller {

class ExecSession;

// Where a command goes, found on the loop's thread.
struct ExecTarget {
  v1::ExecOrder order;
  v1::ExecNode node;
  std::shared_ptr<AgentStream> stream;
  std::optional<core::JobRef> job;  // its timeline says who ran what, before it runs
};
using FindExec = std::function<Result<ExecTarget>(const core::State& state, const v1::ExecStart& start)>;

class ExecBridge {
 public:
  using User = Duplex<v1::ExecRequest, v1::ExecReply>;
  using Agent = Duplex<v1::ExecFromAgent, v1::ExecToAgent>;

  ExecBridge(Context& context_in, AgentRegistry& registry_in)
      : context(context_in),
        registry(registry_in),
        strand(boost::asio::make_strand(context_in.workers.get_executor())) {}

  // Any thread. `who` is for the log.
  User* accept_user(std::string who, FindExec find);
  Agent* accept_agent(Identity identity);

  Context& context;
  AgentRegistry& registry;
  User::Strand strand;

 private:
  friend class ExecSession;
  std::map<std::string, std::weak_ptr<ExecSession>> x_expected;  // by call id
};

}  // namespace trainyard::controller
