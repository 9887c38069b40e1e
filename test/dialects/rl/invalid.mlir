// RUN: graft-opt %s --split-input-file --verify-diagnostics

// The rule that each case breaks is named by operation and number, as in RLOps.td and RLObjectiveOps.td.

// parameter 1
func.func @f() {
  // expected-error @+1 {{needs a name}}
  %w = rl.parameter "" : tensor<8xf32>
  return
}

// -----
// token_logprobs 1: no vocabulary
func.func @f(%z: tensor<f32>, %y: tensor<i64>) {
  // expected-error @+1 {{logits need at least one dimension}}
  %l, %h, %n = rl.token_logprobs %z, %y : tensor<f32>, tensor<i64> -> tensor<f32>
  return
}

// -----
// token_logprobs 1: labels
func.func @f(%z: tensor<2x3x50xf32>, %y: tensor<2xi64>) {
  // expected-error @+1 {{labels, rows and results must have the shape of the logits without the last dimension}}
  %l, %h, %n = rl.token_logprobs %z, %y : tensor<2x3x50xf32>, tensor<2xi64> -> tensor<2x3xf32>
  return
}

// -----
// token_logprobs 1: results
func.func @f(%z: tensor<2x3x50xf32>, %y: tensor<2x3xi64>) {
  // expected-error @+1 {{labels, rows and results must have the shape of the logits without the last dimension}}
  %l, %h, %n = rl.token_logprobs %z, %y : tensor<2x3x50xf32>, tensor<2x3xi64> -> tensor<6xf32>
  return
}

// -----
// token_logprobs 2
func.func @f(%z: tensor<2x3x50xf32>, %y: tensor<2x3xi64>) {
  // expected-error @+1 {{results must have the logits' element type 'f32'}}
  %l, %h, %n = rl.token_logprobs %z, %y : tensor<2x3x50xf32>, tensor<2x3xi64> -> tensor<2x3xf64>
  return
}

// -----
// sequence_reduce 1: rank
func.func @f(%x: tensor<6xf32>, %m: tensor<6xi1>) {
  // expected-error @+1 {{input and mask must be [B,S], the result [B]}}
  %y = rl.sequence_reduce sum %x mask %m : tensor<6xf32>, tensor<6xi1> -> tensor<f32>
  return
}

// -----
// sequence_reduce 1: mask
func.func @f(%x: tensor<2x3xf32>, %m: tensor<2x4xi1>) {
  // expected-error @+1 {{input and mask must be [B,S], the result [B]}}
  %y = rl.sequence_reduce sum %x mask %m : tensor<2x3xf32>, tensor<2x4xi1> -> tensor<2xf32>
  return
}

// -----
// sequence_reduce 1: result
func.func @f(%x: tensor<2x3xf32>, %m: tensor<2x3xi1>) {
  // expected-error @+1 {{input and mask must be [B,S], the result [B]}}
  %y = rl.sequence_reduce sum %x mask %m : tensor<2x3xf32>, tensor<2x3xi1> -> tensor<3xf32>
  return
}

// -----
// sequence_reduce 2
func.func @f(%x: tensor<2x3xf32>, %m: tensor<2x3xi1>) {
  // expected-error @+1 {{combines by sum, max or min, not by prod}}
  %y = rl.sequence_reduce prod %x mask %m : tensor<2x3xf32>, tensor<2x3xi1> -> tensor<2xf32>
  return
}

// -----
// sequence_reduce 3
func.func @f(%x: tensor<2x3xf32>, %m: tensor<2x3xi1>) {
  // expected-error @+1 {{the result must have the input's element type 'f32'}}
  %y = rl.sequence_reduce sum %x mask %m : tensor<2x3xf32>, tensor<2x3xi1> -> tensor<2xf64>
  return
}

// -----
// sequence_broadcast 1: mask
func.func @f(%x: tensor<2xf32>, %m: tensor<6xi1>) {
  // expected-error @+1 {{the input must be [B], mask and result [B,S]}}
  %y = rl.sequence_broadcast %x mask %m : tensor<2xf32>, tensor<6xi1> -> tensor<6xf32>
  return
}

// -----
// sequence_broadcast 1: input
func.func @f(%x: tensor<3xf32>, %m: tensor<2x3xi1>) {
  // expected-error @+1 {{the input must be [B], mask and result [B,S]}}
  %y = rl.sequence_broadcast %x mask %m : tensor<3xf32>, tensor<2x3xi1> -> tensor<2x3xf32>
  return
}

// -----
// sequence_broadcast 1: result
func.func @f(%x: tensor<2xf32>, %m: tensor<2x3xi1>) {
  // expected-error @+1 {{the input must be [B], mask and result [B,S]}}
  %y = rl.sequence_broadcast %x mask %m : tensor<2xf32>, tensor<2x3xi1> -> tensor<2x4xf32>
  return
}

// -----
// sequence_broadcast 2
func.func @f(%x: tensor<2xf32>, %m: tensor<2x3xi1>) {
  // expected-error @+1 {{the result must have the input's element type 'f32'}}
  %y = rl.sequence_broadcast %x mask %m : tensor<2xf32>, tensor<2x3xi1> -> tensor<2x3xf16>
  return
}

// -----
// group_reduce 1: rank
func.func @f(%x: tensor<2x2xf32>, %g: tensor<2x2xi32>, %r: tensor<2x2xi1>) {
  // expected-error @+1 {{input, ids, rows and result must be [B]}}
  %y = rl.group_reduce sum %x ids %g rows %r : tensor<2x2xf32>, tensor<2x2xi32>, tensor<2x2xi1> -> tensor<2x2xf32>
  return
}

// -----
// group_reduce 1: ids
func.func @f(%x: tensor<4xf32>, %g: tensor<2xi32>, %r: tensor<4xi1>) {
  // expected-error @+1 {{input, ids, rows and result must be [B]}}
  %y = rl.group_reduce sum %x ids %g rows %r : tensor<4xf32>, tensor<2xi32>, tensor<4xi1> -> tensor<4xf32>
  return
}

// -----
// group_reduce 1: the result is one value per sequence, not per group
func.func @f(%x: tensor<4xf32>, %g: tensor<4xi32>, %r: tensor<4xi1>) {
  // expected-error @+1 {{input, ids, rows and result must be [B]}}
  %y = rl.group_reduce sum %x ids %g rows %r : tensor<4xf32>, tensor<4xi32>, tensor<4xi1> -> tensor<2xf32>
  return
}

// -----
// group_reduce 2
func.func @f(%x: tensor<4xf32>, %g: tensor<4xi32>, %r: tensor<4xi1>) {
  // expected-error @+1 {{combines by sum, max or min, not by prod}}
  %y = rl.group_reduce prod %x ids %g rows %r : tensor<4xf32>, tensor<4xi32>, tensor<4xi1> -> tensor<4xf32>
  return
}

// -----
// group_reduce 3
func.func @f(%x: tensor<4xf32>, %g: tensor<4xi32>, %r: tensor<4xi1>) {
  // expected-error @+1 {{the result must have the input's element type 'f32'}}
  %y = rl.group_reduce sum %x ids %g rows %r : tensor<4xf32>, tensor<4xi32>, tensor<4xi1> -> tensor<4xbf16>
  return
}

// -----
// batch_reduce 1: rank
func.func @f(%x: tensor<2x2xf32>, %r: tensor<2x2xi1>) {
  // expected-error @+1 {{input and rows must be [B], the result []}}
  %y = rl.batch_reduce sum %x rows %r : tensor<2x2xf32>, tensor<2x2xi1> -> tensor<f32>
  return
}

// -----
// batch_reduce 1: rows
func.func @f(%x: tensor<4xf32>, %r: tensor<3xi1>) {
  // expected-error @+1 {{input and rows must be [B], the result []}}
  %y = rl.batch_reduce sum %x rows %r : tensor<4xf32>, tensor<3xi1> -> tensor<f32>
  return
}

// -----
// batch_reduce 1: result
func.func @f(%x: tensor<4xf32>, %r: tensor<4xi1>) {
  // expected-error @+1 {{input and rows must be [B], the result []}}
  %y = rl.batch_reduce sum %x rows %r : tensor<4xf32>, tensor<4xi1> -> tensor<1xf32>
  return
}

// -----
// batch_reduce 2
func.func @f(%x: tensor<4xf32>, %r: tensor<4xi1>) {
  // expected-error @+1 {{combines by sum, max or min, not by prod}}
  %y = rl.batch_reduce prod %x rows %r : tensor<4xf32>, tensor<4xi1> -> tensor<f32>
  return
}

// -----
// batch_reduce 3
func.func @f(%x: tensor<4xf32>, %r: tensor<4xi1>) {
  // expected-error @+1 {{the result must have the input's element type 'f32'}}
  %y = rl.batch_reduce sum %x rows %r : tensor<4xf32>, tensor<4xi1> -> tensor<f64>
  return
}

// -----
// batch_broadcast 1: input
func.func @f(%x: tensor<1xf32>, %r: tensor<4xi1>) {
  // expected-error @+1 {{the input must be [], rows and result [B]}}
  %y = rl.batch_broadcast %x rows %r : tensor<1xf32>, tensor<4xi1> -> tensor<4xf32>
  return
}

// -----
// batch_broadcast 1: rows
func.func @f(%x: tensor<f32>, %r: tensor<2x2xi1>) {
  // expected-error @+1 {{the input must be [], rows and result [B]}}
  %y = rl.batch_broadcast %x rows %r : tensor<f32>, tensor<2x2xi1> -> tensor<2x2xf32>
  return
}

// -----
// batch_broadcast 1: result
func.func @f(%x: tensor<f32>, %r: tensor<4xi1>) {
  // expected-error @+1 {{the input must be [], rows and result [B]}}
  %y = rl.batch_broadcast %x rows %r : tensor<f32>, tensor<4xi1> -> tensor<3xf32>
  return
}

// -----
// batch_broadcast 2
func.func @f(%x: tensor<f32>, %r: tensor<4xi1>) {
  // expected-error @+1 {{the result must have the input's element type 'f32'}}
  %y = rl.batch_broadcast %x rows %r : tensor<f32>, tensor<4xi1> -> tensor<4xi64>
  return
}

// -----
// token_loop 1: the same first two dimensions
func.func @f(%m: tensor<2x3xi1>, %x: tensor<3x2x8xf32>) {
  // expected-error @+1 {{mask [B, S] and tensors per token must begin with the same two dimensions}}
  rl.token_loop %m : tensor<2x3xi1> tokens(%x : tensor<3x2x8xf32>) chunk = 2 {
  ^bb0(%a: tensor<2x1x8xf32>):
    rl.yield
  }
  return
}

// -----
// token_loop 1: chunk
func.func @f(%m: tensor<2x3xi1>) {
  // expected-error @+1 {{chunk must be from 1 to 6, got 7}}
  rl.token_loop %m : tensor<2x3xi1> chunk = 7 {
    rl.yield
  }
  return
}

// -----
// token_loop 2
func.func @f(%m: tensor<2x3xi1>, %x: tensor<2x3x8xf32>) {
  // expected-error @+1 {{arguments of the region must be}}
  rl.token_loop %m : tensor<2x3xi1> tokens(%x : tensor<2x3x8xf32>) chunk = 2 {
  ^bb0(%a: tensor<2x3x8xf32>):
    rl.yield
  }
  return
}

// -----
// token_loop 3
func.func @f(%m: tensor<2x3xi1>, %x: tensor<2x3x8xf32>) {
  // expected-error @+1 {{the region must yield}}
  %y = rl.token_loop %m : tensor<2x3xi1> tokens(%x : tensor<2x3x8xf32>) chunk = 2 gives(tensor<2x3x8xf32>) {
  ^bb0(%a: tensor<2x1x8xf32>):
    rl.yield
  }
  return
}
