// What objectives need beyond arith, math and nn.
#ifndef GRAFT_RL_OBJECTIVE_OPS
#define GRAFT_RL_OBJECTIVE_OPS

include "dialects/rl/RLDialect.td"

#endif
