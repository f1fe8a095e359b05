// Reports and orders between the agents' protocol and the shared model. Used by controller and agent; both directions
// are exact: what one side writes the other reads back equal. Pure; any thread.
#pragma once

#include "common/model.h"
#include "common/result.h"
#include "trainyard/v1/agent.pb.h"

namespace trainyard {

void to_proto(const Report& report, v1::Report& message);
void to_proto(const Orders& orders, v1::Orders& message);
void to_proto(const Inventory& inventory, v1::Inventory& message);
void to_proto(const Fabric& fabric, v1::Fabric& message);
void to_proto(const Finding& finding, v1::Finding& message);
void to_proto(const Progress& progress, v1::Progress& message);
void to_proto(const HoldingReport& holding, v1::HoldingReport& message);
void to_proto(AttemptId id, v1::Attempt& message);

// A report or orders with an unknown state or phase, or with a launch that cannot be read, is refused whole: acting on
// a part of a whole state would be wrong. A report with a bad node name, too.
Result<Report> from_proto(const v1::Report& message);
Result<Orders> from_proto(const v1::Orders& message);
Result<HoldingReport> from_proto(const v1::HoldingReport& message);
Inventory from_proto(const v1::Inventory& message);
AttemptId from_proto(const v1::Attempt& message);

// Node names: 1 to 64 of [A-Za-z0-9._-], first one alphanumeric: they appear in file names and host lists.
Status check_node_name(const std::string& name);

// Bytes that are not UTF-8 become '?': one such byte in a `string` field would make the receiver drop the whole
// message. Done here for errors of holdings; needed for everything else that a user's program or file names may have
// produced.
std::string valid_utf8(const std::string& text);

}  // namespace trainyard
