// What is in use of what there is, what GPU time was spent for, and the names of Batch AI's operations. Read only; any
// thread.
#pragma once

#include "controller/edge/context.h"
#include "trainyard/v1/usages.grpc.pb.h"

namespace trainyard::controller {

class UsagesService final : public v1::Usages::CallbackService {
 public:
  explicit UsagesService(Context& context) : x_context(context) {}
  grpc::ServerUnaryReactor* ListUsages(grpc::CallbackServerContext*, const v1::ListUsagesRequest*,
                                       v1::ListUsagesResponse*) override;
  // usage_reporting.cc
  grpc::ServerUnaryReactor* ReportUsage(grpc::CallbackServerContext*, const v1::ReportUsageRequest*,
                                        v1::ReportUsageResponse*) override;
  grpc::ServerUnaryReactor* ListOperations(grpc::CallbackServerContext*, const v1::ListOperationsRequest*,
                                           v1::ListOperationsResponse*) override;

 private:
  Context& x_context;
};

}  // namespace trainyard::controller
