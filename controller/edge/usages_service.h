// What is in use of what there is, and the names of Batch AI's operations. Read only; any thread.
#pragma once

#include "controller/edge/context.h"
#include "trainyard/v1/usages.grpc.pb.h"

namespace trainyard::controller {

class UsagesService final : public v1::Usages::CallbackService {
 public:
  explicit UsagesService(Context& context) : x_context(context) {}
  grpc::ServerUnaryReactor* ListUsages(grpc::CallbackServerContext*, const v1::ListUsagesRequest*,
                                       v1::ListUsagesResponse*) override;
  grpc::ServerUnaryReactor* ListOperations(grpc::CallbackServerContext*, const v1::ListOperationsRequest*,
                                           v1::ListOperationsResponse*) override;

 private:
  Context& x_context;
};

}  // namespace trainyard::controller
