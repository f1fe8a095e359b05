// A cluster, its jobs and what the plan makes of them as one text, for table tests of placement rules:
//
//   nodes 4                         "nodes 4x8": of 8 GPUs each
//   runs a 2 since 10 limit 60      job a holds 2 nodes, for 10 minutes; time limit 60 minutes
//   runs d 2x4                      ... 4 GPUs of each of 2 nodes: the first ones that have so many
//   queued b 4 limit 60 high        in this order; without a limit: the one that every job has
//   queued e 1 by alice in w2       of another owner, and of another workspace (w2 and w3 exist beside w)
//   had bob in w2 120               owner bob (- for none) had 120 GPU minutes until now
//   quota w2 limit 4 guaranteed 2 weight 3
//   reserved 2 from 60 until 90 in w2   the first 2 nodes, minutes from now; without "in": for nobody
//   done c 1 took 20 run.sh         a job that succeeded; a last word is the job's script
//   at rack=r1/leaf=l1 4            so many nodes, the first that have no place yet, are there
//   auto 0 6                        the cluster has autoScale from 0 to 6 nodes
//   target 2                        it should have so many; without: all that there are
//   spare 3                         so many nodes, the last ones, are in no cluster
//   queued f 4 one leaf             its nodes must be in one leaf; "near leaf": in as few as can be; "blocks 2 leaf":
//   each 2
//                                   in one; "within rack=r1": only there
//   queued h 4 min 2                starts on 2 to 4 nodes; of those that run or are done: "got 3"
//   queued i 1 limit 60 shortest 20 may be given a shorter limit, from 20 minutes on
//   queued k 1 image                in a container
//   cut 1                           so many of the last nodes are unreachable; "cut n2": this one
//   drained 1                       ... are drained
//   faulty 1                        ... have one faulty GPU
//   engine 1                        ... run containers
//   leaving n2                      ... leave the cluster
//   preparing n2                    ... are prepared for it
//
// takes(text) = what the cluster's scale does: "+n3 +n4 -n1", taken and given back.
//
// starts(text) = names of the jobs that the plan starts, in its order, joined by blanks. places(text) = the same with
// their nodes: "b:n1,n2 c:n1", and a limit that was shortened: "i(50m):n1".
#pragma once

#include <string>

#include "controller/plan/plan.h"

namespace trainyard::test {

inline constexpr TimeMs kSceneNow = 1'795'435'200'000;
inline constexpr DurationMs kMinute = 60'000;

core::State scene(const std::string& text);
const core::Job& job_of(const core::State& state, const std::string& name);
std::string starts(const core::State& state, const plan::Settings& settings = {});
std::string starts(const std::string& text, const plan::Settings& settings = {});
std::string places(const std::string& text, const plan::Settings& settings = {});
std::string takes(const std::string& text);

}  // namespace trainyard::test
