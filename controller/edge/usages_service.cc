#include "controller/edge/usages_service.h"

#include "controller/core/state.h"

namespace trainyard::controller {
namespace {

struct Counted {
  std::int64_t used = 0, total = 0;
};

void add(v1::ListUsagesResponse& response, const std::string& name, std::int64_t used,
         std::optional<std::int64_t> limit) {
  v1::Usage& usage = *response.add_usages();
  usage.set_unit("Count");
  usage.set_name(name);
  usage.set_current_value(used);
  if (limit) usage.set_limit(*limit);
}

}  // namespace

grpc::ServerUnaryReactor* UsagesService::ListUsages(grpc::CallbackServerContext* context, const v1::ListUsagesRequest*,
                                                    v1::ListUsagesResponse* response) {
  return x_context.read(context, [response](const core::State& state, TimeMs) {
    Counted nodes;
    std::map<std::string, Counted> gpus;
    for (const auto& [id, node] : state.nodes) {
      const bool used = node.cluster.has_value();
      ++nodes.total;
      nodes.used += used;
      for (const Gpu& gpu : node.inventory.gpus) {
        Counted& model = gpus["GPUs " + gpu.model + (gpu.pretend && gpu.model != "pretend" ? " (pretend)" : "")];
        ++model.total;
        model.used += used;
      }
    }
    add(*response, "Clusters", static_cast<std::int64_t>(state.clusters.size()), std::nullopt);
    add(*response, "Nodes", nodes.used, nodes.total);
    for (const auto& [name, counted] : gpus) add(*response, name, counted.used, counted.total);
    return grpc::Status::OK;
  });
}

grpc::ServerUnaryReactor* UsagesService::ListOperations(grpc::CallbackServerContext* context,
                                                        const v1::ListOperationsRequest*,
                                                        v1::ListOperationsResponse* response) {
  const auto put = [&](const std::string& name) {
    v1::Operation& operation = *response->add_operations();
    operation.set_name("Microsoft.BatchAI/" + name);
    operation.set_origin("user,system");
  };
  for (const char* resource : {"workspaces", "workspaces/experiments", "workspaces/experiments/jobs",
                               "workspaces/clusters", "workspaces/fileservers"}) {
    for (const char* verb : {"/read", "/write", "/delete"}) put(std::string(resource) + verb);
  }
  put("workspaces/experiments/jobs/terminate/action");
  put("workspaces/experiments/jobs/listoutputfiles/action");
  put("locations/usages/read");
  auto* reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

}  // namespace trainyard::controller
