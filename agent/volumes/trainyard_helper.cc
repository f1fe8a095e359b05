// trainyard-helper: see helper_main.h. A program of its own because it is started many times per job and the agent,
// with all its libraries, takes far longer to start.
#include "agent/volumes/helper_main.h"

int main(int argc, char** argv) {
  return trainyard::agent::helper_main(argc, argv);
}
