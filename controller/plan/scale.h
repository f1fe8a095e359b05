// How many nodes each cluster should have now, and which nodes move between clusters and inventory for it. Pure.
//
// autoScale: busy nodes + what the queued jobs need, within minimum and maximum; an idle node stays for its idle time,
// unless it is in the way of nodes that lie where a job insists on. For such a job only nodes are taken that let it
// start, and none where no free ones do. The inventory goes to dedicated clusters first; when it has too few, they take
// nodes of low-priority clusters back.
#pragma once

#include "controller/core/placement.h"
#include "controller/plan/pass.h"

namespace trainyard::plan {

// Fills the plan's retargets, withdrawals and assignments. Looks at the nodes of clusters of autoScale, of those that
// have too many, and of low-priority ones where dedicated ones have too few; at other clusters only as a whole.
void scale_clusters(const Common& common, core::Plan& plan);

}  // namespace trainyard::plan
