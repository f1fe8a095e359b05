// One call of trainyard-container: what it says goes to a log as it comes, its answer to `done`. Loop thread only.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "agent/containers/request.h"
#include "agent/loop/place.h"
#include "agent/volumes/helper.h"

namespace trainyard::agent {

class ContainerCall : public std::enable_shared_from_this<ContainerCall> {
 public:
  // The result, or null and why there is none.
  using Done = std::function<void(nlohmann::json, ContainerError)>;
  // `done` runs once, never from inside this call; not after cancel().
  static std::shared_ptr<ContainerCall> start(const ExecutorContext& context, const std::string& verb,
                                              const nlohmann::json& request, DurationMs deadline_ms, Say say,
                                              Done done);
  explicit ContainerCall(const ExecutorContext& context) : x_timer(context.io) {}
  ~ContainerCall() { cancel(); }
  void cancel();

 private:
  Status begin(const ExecutorContext& context, const std::string& verb, const nlohmann::json& request,
               DurationMs deadline_ms);
  void take(const std::string& chunk);
  void take_line(const std::string& line);
  void answer(nlohmann::json result, ContainerError error);

  std::shared_ptr<HelperProcess> x_process;
  boost::asio::steady_timer x_timer;
  Say x_say;
  Done x_done;
  std::string x_pending;
};

// For the clean-up: the container of that holding, if it had one, is removed. How many there were; -1: the runtime does
// not answer, and what is left of it is removed when the agent starts next.
void remove_container(const ExecutorContext& context, const Place& place, std::function<void(int)> done);
// Removes what no holding accounts for, of an earlier life of this agent.
void sweep_containers(const ExecutorContext& context, const std::vector<std::string>& keep);

}  // namespace trainyard::agent
