// TY_CHECK: a broken invariant is a bug; it aborts with the place, in release builds too.
#pragma once

#include <cstdio>
#include <cstdlib>

#define TY_CHECK(condition)                                                              \
  do {                                                                                   \
    if (!(condition)) [[unlikely]] {                                                     \
      std::fprintf(stderr, "%s:%d: check failed: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                      \
    }                                                                                    \
  } while (false)
