// The accounting's rows in SQLite, read by a connection of its own: a report over years does not hold up the loop.
#pragma once

#include <memory>
#include <string>

#include "storage/store.h"

namespace trainyard::storage {

// Of the database in that file, which is opened when it is used.
std::unique_ptr<UsageReader> read_usage_of(std::string file);

}  // namespace trainyard::storage
