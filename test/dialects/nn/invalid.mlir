// RUN: graft-opt %s --split-input-file --verify-diagnostics

// The rule that each case breaks is named by operation and number, as in NNOps.td.

// Shapes are static: a dynamic dimension.
func.func @f(%x: tensor<?x3xf32>) {
  // expected-error @+1 {{operand #0 must be statically shaped tensor}}
  %y = nn.softplus %x : tensor<?x3xf32>
  return
}

// -----
// Shapes are static: no rank.
func.func @f(%x: tensor<*xf32>) {
  // expected-error @+1 {{invalid kind of type specified: expected builtin.tensor, but found 'tensor<*xf32>'}}
  %y = nn.reshape %x : tensor<*xf32> -> tensor<6xf32>
  return
}

// -----
// broadcast 1
func.func @f(%x: tensor<8xf32>) {
  // expected-error @+1 {{needs one dimension per input dimension, got 2 for rank 1}}
  %y = nn.broadcast %x dims = [0, 1] : tensor<8xf32> -> tensor<2x8xf32>
  return
}

// -----
// broadcast 1: not increasing
func.func @f(%x: tensor<2x2xf32>) {
  // expected-error @+1 {{dimensions must be strictly increasing and below the result's rank 3, got [1, 1]}}
  %y = nn.broadcast %x dims = [1, 1] : tensor<2x2xf32> -> tensor<2x2x2xf32>
  return
}

// -----
// broadcast 1: beyond the result
func.func @f(%x: tensor<8xf32>) {
  // expected-error @+1 {{dimensions must be strictly increasing and below the result's rank 2, got [2]}}
  %y = nn.broadcast %x dims = [2] : tensor<8xf32> -> tensor<2x8xf32>
  return
}

// -----
// broadcast 2: nothing of size 1 is stretched
func.func @f(%x: tensor<1xf32>) {
  // expected-error @+1 {{input dimension 0 of size 1 does not equal result dimension 1 of size 8}}
  %y = nn.broadcast %x dims = [1] : tensor<1xf32> -> tensor<2x8xf32>
  return
}

// -----
// broadcast 3
func.func @f(%x: tensor<8xf32>) {
  // expected-error @+1 {{element types must be equal, got 'f32' and 'f64'}}
  %y = nn.broadcast %x dims = [1] : tensor<8xf32> -> tensor<2x8xf64>
  return
}

// -----
// reshape 1
func.func @f(%x: tensor<2x3xf32>) {
  // expected-error @+1 {{cannot make 8 elements out of 6}}
  %y = nn.reshape %x : tensor<2x3xf32> -> tensor<8xf32>
  return
}

// -----
// reshape 2
func.func @f(%x: tensor<2x3xf32>) {
  // expected-error @+1 {{element types must be equal, got 'f32' and 'i32'}}
  %y = nn.reshape %x : tensor<2x3xf32> -> tensor<6xi32>
  return
}

// -----
// transpose 1: one dimension twice
func.func @f(%x: tensor<2x2xf32>) {
  // expected-error @+1 {{[1, 1] is not a permutation of the input's 2 dimensions}}
  %y = nn.transpose %x perm = [1, 1] : tensor<2x2xf32> -> tensor<2x2xf32>
  return
}

// -----
// transpose 1: no such dimension
func.func @f(%x: tensor<2x3xf32>) {
  // expected-error @+1 {{[2, 0] is not a permutation of the input's 2 dimensions}}
  %y = nn.transpose %x perm = [2, 0] : tensor<2x3xf32> -> tensor<3x2xf32>
  return
}

// -----
// transpose 1: a dimension is missing
func.func @f(%x: tensor<2x3xf32>) {
  // expected-error @+1 {{[0] is not a permutation of the input's 2 dimensions}}
  %y = nn.transpose %x perm = [0] : tensor<2x3xf32> -> tensor<2xf32>
  return
}

// -----
// transpose: the result's type follows from the operands
func.func @f(%x: tensor<2x3xf32>) {
  // expected-error @+2 {{failed to infer returned types}}
  // expected-error @+1 {{inferred type(s) 'tensor<3x2xf32>' are incompatible with return type(s) of operation 'tensor<2x3xf32>'}}
  %y = nn.transpose %x perm = [1, 0] : tensor<2x3xf32> -> tensor<2x3xf32>
  return
}

// -----
// slice 1: a start is missing
func.func @f(%x: tensor<2x8xf32>) {
  // expected-error @+1 {{needs one start and one step per dimension and equal ranks, got 1 starts, 2 steps for ranks 2 and 2}}
  %y = nn.slice %x starts = [0] steps = [1, 1] : tensor<2x8xf32> -> tensor<2x3xf32>
  return
}

// -----
// slice 1: ranks differ
func.func @f(%x: tensor<2x8xf32>) {
  // expected-error @+1 {{got 2 starts, 2 steps for ranks 1 and 2}}
  %y = nn.slice %x starts = [0, 0] steps = [1, 1] : tensor<2x8xf32> -> tensor<8xf32>
  return
}

// -----
// slice 2: negative start
func.func @f(%x: tensor<8xf32>) {
  // expected-error @+1 {{dimension 0 needs a start of at least 0 and a step of at least 1, got -1 and 1}}
  %y = nn.slice %x starts = [-1] steps = [1] : tensor<8xf32> -> tensor<3xf32>
  return
}

// -----
// slice 2: backwards
func.func @f(%x: tensor<8xf32>) {
  // expected-error @+1 {{dimension 0 needs a start of at least 0 and a step of at least 1, got 7 and -1}}
  %y = nn.slice %x starts = [7] steps = [-1] : tensor<8xf32> -> tensor<8xf32>
  return
}

// -----
// slice 3
func.func @f(%x: tensor<2x8xf32>) {
  // expected-error @+1 {{dimension 1: 4 elements from 2 by 2 do not lie inside size 8}}
  %y = nn.slice %x starts = [0, 2] steps = [1, 2] : tensor<2x8xf32> -> tensor<2x4xf32>
  return
}

// -----
// slice 3: nothing, from beyond the end
func.func @f(%x: tensor<8xf32>) {
  // expected-error @+1 {{dimension 0: 0 elements from 9 by 1 do not lie inside size 8}}
  %y = nn.slice %x starts = [9] steps = [1] : tensor<8xf32> -> tensor<0xf32>
  return
}

// -----
// slice 3: the last index does not fit in 64 bits
func.func @f(%x: tensor<8xf32>) {
  // expected-error @+1 {{dimension 0: 3 elements from 0 by 9223372036854775807 do not lie inside size 8}}
  %y = nn.slice %x starts = [0] steps = [9223372036854775807] : tensor<8xf32> -> tensor<3xf32>
  return
}

// -----
// slice 4
func.func @f(%x: tensor<8xf32>) {
  // expected-error @+1 {{element types must be equal, got 'f16' and 'f32'}}
  %y = nn.slice %x starts = [0] steps = [1] : tensor<8xf32> -> tensor<3xf16>
  return
}

// -----
// pad 1
func.func @f(%x: tensor<2x3xf32>) {
  // expected-error @+1 {{needs one start and one step per dimension and equal ranks, got 2 starts, 0 steps for ranks 2 and 2}}
  %y = nn.pad %x starts = [0, 1] steps = [] : tensor<2x3xf32> -> tensor<2x8xf32>
  return
}

// -----
// pad 2
func.func @f(%x: tensor<3xf32>) {
  // expected-error @+1 {{dimension 0 needs a start of at least 0 and a step of at least 1, got 0 and 0}}
  %y = nn.pad %x starts = [0] steps = [0] : tensor<3xf32> -> tensor<8xf32>
  return
}

// -----
// pad 3
func.func @f(%x: tensor<3xf32>) {
  // expected-error @+1 {{dimension 0: 3 elements from 6 by 1 do not lie inside size 8}}
  %y = nn.pad %x starts = [6] steps = [1] : tensor<3xf32> -> tensor<8xf32>
  return
}

// -----
// pad 4
func.func @f(%x: tensor<3xi32>) {
  // expected-error @+1 {{element types must be equal, got 'i32' and 'i64'}}
  %y = nn.pad %x starts = [0] steps = [1] : tensor<3xi32> -> tensor<8xi64>
  return
}

// -----
// concat 1: no input
func.func @f() {
  // expected-error @+1 {{needs at least one input}}
  %y = "nn.concat"() <{axis = 0 : i64}> : () -> tensor<0xf32>
  return
}

// -----
// concat 1: another rank
func.func @f(%a: tensor<2x3xf32>, %b: tensor<2xf32>) {
  // expected-error @+1 {{input 1 of type 'tensor<2xf32>' does not fit the result 'tensor<2x4xf32>' along axis 1}}
  %y = nn.concat %a, %b axis = 1 : tensor<2x3xf32>, tensor<2xf32> -> tensor<2x4xf32>
  return
}

// -----
// concat 1: another element type
func.func @f(%a: tensor<2x3xf32>, %b: tensor<2x1xf64>) {
  // expected-error @+1 {{input 1 of type 'tensor<2x1xf64>' does not fit the result 'tensor<2x4xf32>' along axis 1}}
  %y = nn.concat %a, %b axis = 1 : tensor<2x3xf32>, tensor<2x1xf64> -> tensor<2x4xf32>
  return
}

// -----
// concat 2
func.func @f(%a: tensor<2xf32>) {
  // expected-error @+1 {{axis 1 is not a dimension of a tensor of rank 1}}
  %y = nn.concat %a axis = 1 : tensor<2xf32> -> tensor<2xf32>
  return
}

// -----
// concat 3: another size beside the axis
func.func @f(%a: tensor<2x3xf32>, %b: tensor<3x1xf32>) {
  // expected-error @+1 {{input 1 of type 'tensor<3x1xf32>' does not fit the result 'tensor<2x4xf32>' along axis 1}}
  %y = nn.concat %a, %b axis = 1 : tensor<2x3xf32>, tensor<3x1xf32> -> tensor<2x4xf32>
  return
}

// -----
// concat 3: sizes do not add up
func.func @f(%a: tensor<2x3xf32>, %b: tensor<2x1xf32>) {
  // expected-error @+1 {{inputs have 4 elements along axis 1, the result has 5}}
  %y = nn.concat %a, %b axis = 1 : tensor<2x3xf32>, tensor<2x1xf32> -> tensor<2x5xf32>
  return
}

// -----
// iota 1
func.func @f() {
  // expected-error @+1 {{axis -1 is not a dimension of a tensor of rank 2}}
  %y = nn.iota axis = -1 : tensor<2x8xi64>
  return
}

// -----
// reduce 1: not increasing
func.func @f(%x: tensor<2x3xf32>) {
  // expected-error @+1 {{axes must be strictly increasing dimensions of a tensor of rank 2, got [1, 0]}}
  %y = nn.reduce sum %x axes = [1, 0] : tensor<2x3xf32> -> tensor<f32>
  return
}

// -----
// reduce 1: no such dimension
func.func @f(%x: tensor<2x3xf32>) {
  // expected-error @+1 {{axes must be strictly increasing dimensions of a tensor of rank 2, got [2]}}
  %y = nn.reduce sum %x axes = [2] : tensor<2x3xf32> -> tensor<2x3xf32>
  return
}

// -----
// reduce 2
func.func @f(%x: tensor<2x0xf32>) {
  // expected-error @+1 {{the max of no element (dimension 1 is empty) is not defined}}
  %y = nn.reduce max %x axes = [1] : tensor<2x0xf32> -> tensor<2xf32>
  return
}

// -----
// reduce 2
func.func @f(%x: tensor<0x2xi64>) {
  // expected-error @+1 {{the min of no element (dimension 0 is empty) is not defined}}
  %y = nn.reduce min %x axes = [0] : tensor<0x2xi64> -> tensor<2xi64>
  return
}

// -----
// reduce 3
func.func @f(%x: tensor<2x3xi1>) {
  // expected-error @+1 {{booleans are reduced with max or min, not sum}}
  %y = nn.reduce sum %x axes = [1] : tensor<2x3xi1> -> tensor<2xi1>
  return
}

// -----
// reduce 3
func.func @f(%x: tensor<2x3xi1>) {
  // expected-error @+1 {{booleans are reduced with max or min, not prod}}
  %y = nn.reduce prod %x axes = [1] : tensor<2x3xi1> -> tensor<2xi1>
  return
}

// -----
// reduce: the result's type follows from the operands
func.func @f(%x: tensor<2x3xf32>) {
  // expected-error @+2 {{failed to infer returned types}}
  // expected-error @+1 {{inferred type(s) 'tensor<2xf32>' are incompatible with return type(s) of operation 'tensor<2x1xf32>'}}
  %y = nn.reduce sum %x axes = [1] : tensor<2x3xf32> -> tensor<2x1xf32>
  return
}

// -----
// cumsum 1
func.func @f(%x: tensor<2x3xi64>) {
  // expected-error @+1 {{axis 2 is not a dimension of a tensor of rank 2}}
  %y = nn.cumsum %x axis = 2 : tensor<2x3xi64>
  return
}

// -----
// softmax 1
func.func @f(%x: tensor<f32>) {
  // expected-error @+1 {{axis 0 is not a dimension of a tensor of rank 0}}
  %y = nn.softmax %x axis = 0 : tensor<f32> -> tensor<f32>
  return
}

// -----
// softmax 2
func.func @f(%x: tensor<2x3xf32>, %m: tensor<3xi1>) {
  // expected-error @+1 {{mask must have shape [2, 3], got [3]}}
  %y = nn.softmax %x mask %m axis = 1 : tensor<2x3xf32>, tensor<3xi1> -> tensor<2x3xf32>
  return
}

// -----
// softmax 3
func.func @f(%x: tensor<2x3xf32>) {
  // expected-error @+1 {{result type 'tensor<2x3xf64>' must be the input's 'tensor<2x3xf32>'}}
  %y = nn.softmax %x axis = 1 : tensor<2x3xf32> -> tensor<2x3xf64>
  return
}

// -----
// log_softmax 1
func.func @f(%x: tensor<2x3xf32>) {
  // expected-error @+1 {{axis -1 is not a dimension of a tensor of rank 2}}
  %y = nn.log_softmax %x axis = -1 : tensor<2x3xf32>
  return
}

// -----
// contract 1: no arrow
func.func @f(%x: tensor<2x3xf32>, %w: tensor<5x3xf32>) {
  // expected-error @+1 {{equation "bk,nk" must be letters,letters->letters with one letter per dimension}}
  %y = nn.contract "bk,nk" %x, %w : tensor<2x3xf32>, tensor<5x3xf32> -> tensor<2x5xf32>
  return
}

// -----
// contract 1: three inputs
func.func @f(%x: tensor<2x3xf32>, %w: tensor<5x3xf32>) {
  // expected-error @+1 {{equation "bk,nk,n->bn" must be letters,letters->letters}}
  %y = nn.contract "bk,nk,n->bn" %x, %w : tensor<2x3xf32>, tensor<5x3xf32> -> tensor<2x5xf32>
  return
}

// -----
// contract 1: an ellipsis is no letter
func.func @f(%x: tensor<2x3xf32>, %w: tensor<5x3xf32>) {
  // expected-error @+1 {{equation ".k,nk->.n" must be letters,letters->letters}}
  %y = nn.contract ".k,nk->.n" %x, %w : tensor<2x3xf32>, tensor<5x3xf32> -> tensor<2x5xf32>
  return
}

// -----
// contract 1: fewer letters than dimensions
func.func @f(%x: tensor<2x3xf32>, %w: tensor<5x3xf32>) {
  // expected-error @+1 {{equation "k,nk->n" must be letters,letters->letters with one letter per dimension of 'tensor<2x3xf32>'}}
  %y = nn.contract "k,nk->n" %x, %w : tensor<2x3xf32>, tensor<5x3xf32> -> tensor<5xf32>
  return
}

// -----
// contract 2: no diagonals
func.func @f(%x: tensor<3x3xf32>, %w: tensor<5x3xf32>) {
  // expected-error @+1 {{letter 'k' occurs twice in "kk"}}
  %y = nn.contract "kk,nk->n" %x, %w : tensor<3x3xf32>, tensor<5x3xf32> -> tensor<5xf32>
  return
}

// -----
// contract 3
func.func @f(%x: tensor<2x3xf32>, %w: tensor<5x4xf32>) {
  // expected-error @+1 {{letter 'k' has sizes 3 and 4}}
  %y = nn.contract "bk,nk->bn" %x, %w : tensor<2x3xf32>, tensor<5x4xf32> -> tensor<2x5xf32>
  return
}

// -----
// contract 3: in the result
func.func @f(%x: tensor<2x3xf32>, %w: tensor<5x3xf32>) {
  // expected-error @+1 {{letter 'n' has sizes 5 and 6}}
  %y = nn.contract "bk,nk->bn" %x, %w : tensor<2x3xf32>, tensor<5x3xf32> -> tensor<2x6xf32>
  return
}

// -----
// contract 4: of the result alone
func.func @f(%x: tensor<2x3xf32>, %w: tensor<5x3xf32>) {
  // expected-error @+1 {{letter 'z' must be in the result and an input, or in both inputs}}
  %y = nn.contract "bk,nk->bnz" %x, %w : tensor<2x3xf32>, tensor<5x3xf32> -> tensor<2x5x7xf32>
  return
}

// -----
// contract 4: of one input alone
func.func @f(%x: tensor<2x3xf32>, %w: tensor<5x3xf32>) {
  // expected-error @+1 {{letter 'b' must be in the result and an input, or in both inputs}}
  %y = nn.contract "bk,nk->n" %x, %w : tensor<2x3xf32>, tensor<5x3xf32> -> tensor<5xf32>
  return
}

// -----
// contract 5: the inputs
func.func @f(%x: tensor<2x3xf32>, %w: tensor<5x3xbf16>) {
  // expected-error @+1 {{element types must be equal, got 'f32' and 'bf16'}}
  %y = nn.contract "bk,nk->bn" %x, %w : tensor<2x3xf32>, tensor<5x3xbf16> -> tensor<2x5xf32>
  return
}

// -----
// contract 5: the result
func.func @f(%x: tensor<2x3xf32>, %w: tensor<5x3xf32>) {
  // expected-error @+1 {{element types must be equal, got 'f32' and 'f64'}}
  %y = nn.contract "bk,nk->bn" %x, %w : tensor<2x3xf32>, tensor<5x3xf32> -> tensor<2x5xf64>
  return
}

// -----
// gather 1
func.func @f(%x: tensor<50x8xf32>, %i: tensor<2xi64>) {
  // expected-error @+1 {{axis 2 is not a dimension of a tensor of rank 2}}
  %y = nn.gather %x, %i axis = 2 : tensor<50x8xf32>, tensor<2xi64> -> tensor<50x8x2xf32>
  return
}

// -----
// gather 2: shape
func.func @f(%x: tensor<50x8xf32>, %i: tensor<2x3xi64>) {
  // expected-error @+1 {{result must have shape [50, 2, 3], got [2, 3, 8]}}
  %y = nn.gather %x, %i axis = 1 : tensor<50x8xf32>, tensor<2x3xi64> -> tensor<2x3x8xf32>
  return
}

// -----
// gather 2: element type
func.func @f(%x: tensor<50x8xf32>, %i: tensor<2xi64>) {
  // expected-error @+1 {{element types must be equal, got 'f32' and 'f16'}}
  %y = nn.gather %x, %i axis = 0 : tensor<50x8xf32>, tensor<2xi64> -> tensor<2x8xf16>
  return
}

// -----
// scatter_add 1
func.func @f(%u: tensor<2x8xf32>, %i: tensor<2xi64>) {
  // expected-error @+1 {{axis -1 is not a dimension of a tensor of rank 2}}
  %y = nn.scatter_add %u, %i axis = -1 : tensor<2x8xf32>, tensor<2xi64> -> tensor<50x8xf32>
  return
}

// -----
// scatter_add 2: shape
func.func @f(%u: tensor<2x3x8xf32>, %i: tensor<2xi64>) {
  // expected-error @+1 {{updates must have shape [2, 8], got [2, 3, 8]}}
  %y = nn.scatter_add %u, %i axis = 0 : tensor<2x3x8xf32>, tensor<2xi64> -> tensor<50x8xf32>
  return
}

// -----
// scatter_add 2: element type
func.func @f(%u: tensor<2x8xf32>, %i: tensor<2xi64>) {
  // expected-error @+1 {{element types must be equal, got 'f32' and 'f64'}}
  %y = nn.scatter_add %u, %i axis = 0 : tensor<2x8xf32>, tensor<2xi64> -> tensor<50x8xf64>
  return
}

// -----
// gather_elements 1
func.func @f(%x: tensor<2x9xf32>, %i: tensor<2x1xi64>) {
  // expected-error @+1 {{axis 2 is not a dimension of a tensor of rank 2}}
  %y = nn.gather_elements %x, %i axis = 2 : tensor<2x9xf32>, tensor<2x1xi64> -> tensor<2x1xf32>
  return
}

// -----
// gather_elements 2: the result
func.func @f(%x: tensor<2x9xf32>, %i: tensor<2x1xi64>) {
  // expected-error @+1 {{result must have shape [2, 1], got [2, 9]}}
  %y = nn.gather_elements %x, %i axis = 1 : tensor<2x9xf32>, tensor<2x1xi64> -> tensor<2x9xf32>
  return
}

// -----
// gather_elements 2: beside the axis
func.func @f(%x: tensor<2x9xf32>, %i: tensor<3x1xi64>) {
  // expected-error @+1 {{indices must have shape [2, 1], got [3, 1]}}
  %y = nn.gather_elements %x, %i axis = 1 : tensor<2x9xf32>, tensor<3x1xi64> -> tensor<3x1xf32>
  return
}

// -----
// gather_elements 2: another rank
func.func @f(%x: tensor<2x9xf32>, %i: tensor<2xi64>) {
  // expected-error @+1 {{indices must have shape [2, 9], got [2]}}
  %y = nn.gather_elements %x, %i axis = 1 : tensor<2x9xf32>, tensor<2xi64> -> tensor<2xf32>
  return
}

// -----
// gather_elements 3
func.func @f(%x: tensor<2x9xf32>, %i: tensor<2x1xi64>) {
  // expected-error @+1 {{element types must be equal, got 'f32' and 'i64'}}
  %y = nn.gather_elements %x, %i axis = 1 : tensor<2x9xf32>, tensor<2x1xi64> -> tensor<2x1xi64>
  return
}

// -----
// scatter_elements_add 1
func.func @f(%u: tensor<2x1xf32>, %i: tensor<2x1xi64>) {
  // expected-error @+1 {{axis -1 is not a dimension of a tensor of rank 2}}
  %y = nn.scatter_elements_add %u, %i axis = -1 : tensor<2x1xf32>, tensor<2x1xi64> -> tensor<2x9xf32>
  return
}

// -----
// scatter_elements_add 2: the updates
func.func @f(%u: tensor<2x2xf32>, %i: tensor<2x1xi64>) {
  // expected-error @+1 {{updates must have shape [2, 1], got [2, 2]}}
  %y = nn.scatter_elements_add %u, %i axis = 1 : tensor<2x2xf32>, tensor<2x1xi64> -> tensor<2x9xf32>
  return
}

// -----
// scatter_elements_add 2: beside the axis
func.func @f(%u: tensor<2x1xf32>, %i: tensor<2x1xi64>) {
  // expected-error @+1 {{indices must have shape [3, 1], got [2, 1]}}
  %y = nn.scatter_elements_add %u, %i axis = 1 : tensor<2x1xf32>, tensor<2x1xi64> -> tensor<3x9xf32>
  return
}

// -----
// scatter_elements_add 3
func.func @f(%u: tensor<2x1xf32>, %i: tensor<2x1xi64>) {
  // expected-error @+1 {{element types must be equal, got 'f64' and 'f32'}}
  %y = nn.scatter_elements_add %u, %i axis = 1 : tensor<2x1xf32>, tensor<2x1xi64> -> tensor<2x9xf64>
  return
}

// -----
// rms_norm 1: no dimension
func.func @f(%x: tensor<f32>) {
  // expected-error @+1 {{needs a last dimension that is not empty, got shape []}}
  %y = nn.rms_norm %x epsilon = 1.0e-5 : tensor<f32>
  return
}

// -----
// rms_norm 1: the last is empty
func.func @f(%x: tensor<2x0xf32>) {
  // expected-error @+1 {{needs a last dimension that is not empty, got shape [2, 0]}}
  %y = nn.rms_norm %x epsilon = 1.0e-5 : tensor<2x0xf32>
  return
}

// -----
// rms_norm 2: negative
func.func @f(%x: tensor<2x8xf32>) {
  // expected-error @+1 {{epsilon must be finite and not negative}}
  %y = nn.rms_norm %x epsilon = -1.0e-5 : tensor<2x8xf32>
  return
}

// -----
// rms_norm 2: infinite
func.func @f(%x: tensor<2x8xf32>) {
  // expected-error @+1 {{epsilon must be finite and not negative}}
  %y = nn.rms_norm %x epsilon = 0x7FF0000000000000 : tensor<2x8xf32>
  return
}

// -----
// layer_norm 1
func.func @f(%x: tensor<f32>) {
  // expected-error @+1 {{needs a last dimension that is not empty, got shape []}}
  %y = nn.layer_norm %x epsilon = 1.0e-5 : tensor<f32>
  return
}

// -----
// layer_norm 2: NaN
func.func @f(%x: tensor<2x8xf32>) {
  // expected-error @+1 {{epsilon must be finite and not negative}}
  %y = nn.layer_norm %x epsilon = 0x7FF8000000000000 : tensor<2x8xf32>
  return
}

// -----
// rope 1: odd
func.func @f(%x: tensor<2x7xf32>, %c: tensor<2x3xf32>) {
  // expected-error @+1 {{needs an even last dimension, got shape [2, 7]}}
  %y = nn.rope %x, %c, %c : tensor<2x7xf32>, tensor<2x3xf32>, tensor<2x3xf32> -> tensor<2x7xf32>
  return
}

// -----
// rope 1: no dimension
func.func @f(%x: tensor<f32>) {
  // expected-error @+1 {{needs an even last dimension, got shape []}}
  %y = nn.rope %x, %x, %x : tensor<f32>, tensor<f32>, tensor<f32> -> tensor<f32>
  return
}

// -----
// rope 1: a table is not broadcast
func.func @f(%x: tensor<2x3x8xf32>, %c: tensor<2x3x4xf32>, %s: tensor<3x4xf32>) {
  // expected-error @+1 {{cos and sin must have shape [2, 3, 4], got [3, 4]}}
  %y = nn.rope %x, %c, %s : tensor<2x3x8xf32>, tensor<2x3x4xf32>, tensor<3x4xf32> -> tensor<2x3x8xf32>
  return
}

// -----
// rope 2: a table
func.func @f(%x: tensor<2x8xbf16>, %c: tensor<2x4xf32>) {
  // expected-error @+1 {{element types must be equal, got 'bf16' and 'f32'}}
  %y = nn.rope %x, %c, %c : tensor<2x8xbf16>, tensor<2x4xf32>, tensor<2x4xf32> -> tensor<2x8xbf16>
  return
}

// -----
// rope 2: the result
func.func @f(%x: tensor<2x8xf32>, %c: tensor<2x4xf32>) {
  // expected-error @+1 {{result type 'tensor<2x4xf32>' must be the input's 'tensor<2x8xf32>'}}
  %y = nn.rope %x, %c, %c : tensor<2x8xf32>, tensor<2x4xf32>, tensor<2x4xf32> -> tensor<2x4xf32>
  return
}

// -----
// attention 1: ranks
func.func @f(%q: tensor<4x3x8xf32>, %k: tensor<1x2x3x8xf32>) {
  // expected-error @+1 {{query, key and value must have rank 4, got 3, 4 and 4}}
  %o, %lse = nn.attention %q, %k, %k {scale = 1.0 : f64} : (tensor<4x3x8xf32>, tensor<1x2x3x8xf32>, tensor<1x2x3x8xf32>) -> tensor<4x3x8xf32>
  return
}

// -----
// attention 1: key heads divide query heads
func.func @f(%q: tensor<1x3x3x8xf32>, %k: tensor<1x2x3x8xf32>) {
  // expected-error @+1 {{2 key heads do not divide 3 query heads}}
  %o, %lse = nn.attention %q, %k, %k {scale = 1.0 : f64} : (tensor<1x3x3x8xf32>, tensor<1x2x3x8xf32>, tensor<1x2x3x8xf32>) -> tensor<1x3x3x8xf32>
  return
}

// -----
// attention 1: no key head
func.func @f(%q: tensor<1x3x3x8xf32>, %k: tensor<1x0x3x8xf32>) {
  // expected-error @+1 {{0 key heads do not divide 3 query heads}}
  %o, %lse = nn.attention %q, %k, %k {scale = 1.0 : f64} : (tensor<1x3x3x8xf32>, tensor<1x0x3x8xf32>, tensor<1x0x3x8xf32>) -> tensor<1x3x3x8xf32>
  return
}

// -----
// attention 1: the key
func.func @f(%q: tensor<1x4x3x8xf32>, %k: tensor<1x2x3x6xf32>, %v: tensor<1x2x3x8xf32>) {
  // expected-error @+1 {{key must have shape [1, 2, 3, 8], got [1, 2, 3, 6]}}
  %o, %lse = nn.attention %q, %k, %v {scale = 1.0 : f64} : (tensor<1x4x3x8xf32>, tensor<1x2x3x6xf32>, tensor<1x2x3x8xf32>) -> tensor<1x4x3x8xf32>
  return
}

// -----
// attention 1: the value
func.func @f(%q: tensor<1x4x3x8xf32>, %k: tensor<1x2x3x8xf32>, %v: tensor<1x2x5x8xf32>) {
  // expected-error @+1 {{value must have shape [1, 2, 3, 8], got [1, 2, 5, 8]}}
  %o, %lse = nn.attention %q, %k, %v {scale = 1.0 : f64} : (tensor<1x4x3x8xf32>, tensor<1x2x3x8xf32>, tensor<1x2x5x8xf32>) -> tensor<1x4x3x8xf32>
  return
}

// -----
// attention 1: the result
func.func @f(%q: tensor<1x4x3x8xf32>, %k: tensor<1x2x3x8xf32>, %v: tensor<1x2x3x6xf32>) {
  // expected-error @+1 {{result must have shape [1, 4, 3, 6], got [1, 4, 3, 8]}}
  %o, %lse = nn.attention %q, %k, %v {scale = 1.0 : f64} : (tensor<1x4x3x8xf32>, tensor<1x2x3x8xf32>, tensor<1x2x3x6xf32>) -> tensor<1x4x3x8xf32>
  return
}

// -----
// attention 1: key_valid
func.func @f(%q: tensor<1x4x3x8xf32>, %k: tensor<1x2x5x8xf32>, %m: tensor<1x3xi1>) {
  // expected-error @+1 {{key_valid must have shape [1, 5], got [1, 3]}}
  %o, %lse = nn.attention %q, %k, %k valid %m {scale = 1.0 : f64} : (tensor<1x4x3x8xf32>, tensor<1x2x5x8xf32>, tensor<1x2x5x8xf32>, tensor<1x3xi1>) -> tensor<1x4x3x8xf32>
  return
}

// -----
// attention 1: segments
func.func @f(%q: tensor<1x4x3x8xf32>, %k: tensor<1x2x3x8xf32>, %s: tensor<1x4xi64>) {
  // expected-error @+1 {{segments must have shape [1, 3] or [1, 2, 3], got [1, 4]}}
  %o, %lse = nn.attention %q, %k, %k segments %s {scale = 1.0 : f64} : (tensor<1x4x3x8xf32>, tensor<1x2x3x8xf32>, tensor<1x2x3x8xf32>, tensor<1x4xi64>) -> tensor<1x4x3x8xf32>
  return
}

// -----
// attention 1: at most one segment besides the own
func.func @f(%q: tensor<1x4x3x8xf32>, %k: tensor<1x2x3x8xf32>, %s: tensor<1x3x3xi64>) {
  // expected-error @+1 {{segments must have shape [1, 3] or [1, 2, 3], got [1, 3, 3]}}
  %o, %lse = nn.attention %q, %k, %k segments %s {scale = 1.0 : f64} : (tensor<1x4x3x8xf32>, tensor<1x2x3x8xf32>, tensor<1x2x3x8xf32>, tensor<1x3x3xi64>) -> tensor<1x4x3x8xf32>
  return
}

// -----
// attention 1: segments need as many queries as keys
func.func @f(%q: tensor<1x4x3x8xf32>, %k: tensor<1x2x5x8xf32>, %s: tensor<1x5xi64>) {
  // expected-error @+1 {{segments must have shape [1, 3] or [1, 2, 3], got [1, 5]}}
  %o, %lse = nn.attention %q, %k, %k segments %s {scale = 1.0 : f64} : (tensor<1x4x3x8xf32>, tensor<1x2x5x8xf32>, tensor<1x2x5x8xf32>, tensor<1x5xi64>) -> tensor<1x4x3x8xf32>
  return
}

// -----
// attention 1: bias
func.func @f(%q: tensor<1x4x3x8xf32>, %k: tensor<1x2x5x8xf32>, %b: tensor<1x1x3x5xf32>) {
  // expected-error @+1 {{bias must have shape [1, 4, 3, 5], got [1, 1, 3, 5]}}
  %o, %lse = nn.attention %q, %k, %k bias %b {scale = 1.0 : f64} : (tensor<1x4x3x8xf32>, tensor<1x2x5x8xf32>, tensor<1x2x5x8xf32>, tensor<1x1x3x5xf32>) -> tensor<1x4x3x8xf32>
  return
}

// -----
// attention 2: window
func.func @f(%q: tensor<1x2x3x8xf32>) {
  // expected-error @+1 {{window and softcap must not be negative, scale and softcap must be finite}}
  %o, %lse = nn.attention %q, %q, %q {scale = 1.0 : f64, window = -1 : i64} : (tensor<1x2x3x8xf32>, tensor<1x2x3x8xf32>, tensor<1x2x3x8xf32>) -> tensor<1x2x3x8xf32>
  return
}

// -----
// attention 2: softcap is negative
func.func @f(%q: tensor<1x2x3x8xf32>) {
  // expected-error @+1 {{window and softcap must not be negative, scale and softcap must be finite}}
  %o, %lse = nn.attention %q, %q, %q {scale = 1.0 : f64, softcap = -1.0 : f64} : (tensor<1x2x3x8xf32>, tensor<1x2x3x8xf32>, tensor<1x2x3x8xf32>) -> tensor<1x2x3x8xf32>
  return
}

// -----
// attention 2: softcap is infinite
func.func @f(%q: tensor<1x2x3x8xf32>) {
  // expected-error @+1 {{window and softcap must not be negative, scale and softcap must be finite}}
  %o, %lse = nn.attention %q, %q, %q {scale = 1.0 : f64, softcap = 0x7FF0000000000000 : f64} : (tensor<1x2x3x8xf32>, tensor<1x2x3x8xf32>, tensor<1x2x3x8xf32>) -> tensor<1x2x3x8xf32>
  return
}

// -----
// attention 2: scale is not a number
func.func @f(%q: tensor<1x2x3x8xf32>) {
  // expected-error @+1 {{window and softcap must not be negative, scale and softcap must be finite}}
  %o, %lse = nn.attention %q, %q, %q {scale = 0x7FF8000000000000 : f64} : (tensor<1x2x3x8xf32>, tensor<1x2x3x8xf32>, tensor<1x2x3x8xf32>) -> tensor<1x2x3x8xf32>
  return
}

// -----
// attention 3: the key
func.func @f(%q: tensor<1x2x3x8xf32>, %k: tensor<1x2x3x8xbf16>) {
  // expected-error @+1 {{element types must be equal, got 'f32' and 'bf16'}}
  %o, %lse = nn.attention %q, %k, %q {scale = 1.0 : f64} : (tensor<1x2x3x8xf32>, tensor<1x2x3x8xbf16>, tensor<1x2x3x8xf32>) -> tensor<1x2x3x8xf32>
  return
}

// -----
// attention 3: the bias
func.func @f(%q: tensor<1x2x3x8xf32>, %b: tensor<1x2x3x3xf64>) {
  // expected-error @+1 {{element types must be equal, got 'f32' and 'f64'}}
  %o, %lse = nn.attention %q, %q, %q bias %b {scale = 1.0 : f64} : (tensor<1x2x3x8xf32>, tensor<1x2x3x8xf32>, tensor<1x2x3x8xf32>, tensor<1x2x3x3xf64>) -> tensor<1x2x3x8xf32>
  return
}

// -----
// attention 3: the result
func.func @f(%q: tensor<1x2x3x8xf32>) {
  // expected-error @+1 {{element types must be equal, got 'f32' and 'f16'}}
  %o, %lse = nn.attention %q, %q, %q {scale = 1.0 : f64} : (tensor<1x2x3x8xf32>, tensor<1x2x3x8xf32>, tensor<1x2x3x8xf32>) -> tensor<1x2x3x8xf16>
  return
}
