#ifndef GRAFT_RL_DIALECT
#define GRAFT_RL_DIALECT

include "dialects/nn/NNDialect.td"

def RLDialect : Dialect {
  let name = "rl";
  let summary = "What training asks of a model";
  let description = [{
    Parameters and their names, log-probs of a head, and the reductions of objectives over sequences and groups.
    Function arguments and results carry their array's name in the attribute `rl.name`. Models no devices.
  }];
  let cppNamespace = "::graft::rl";
  let dependentDialects = ["::graft::nn::NNDialect"];
}

class RLOp<string mnemonic, list<Trait> traits = []> : Op<RLDialect, mnemonic, !listconcat([Pure,
    DeclareOpInterfaceMethods<DifferentiableOpInterface>, DeclareOpInterfaceMethods<ShardingRuleOpInterface>,
    DeclareOpInterfaceMethods<CostOpInterface>, DeclareOpInterfaceMethods<EvaluateOpInterface>], traits)>;

#endif
