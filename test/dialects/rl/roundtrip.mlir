// RUN: graft-opt %s --verify-roundtrip | graft-opt | FileCheck %s
// RUN: graft-opt %s --mlir-print-op-generic | graft-opt | FileCheck %s

// Tests that the example of every operator is what it prints, in its own form and in the generic one.

// CHECK-LABEL: @parameter
// CHECK: rl.parameter "model.norm.weight" trained : tensor<8xf32>
func.func @parameter() {
  %w = rl.parameter "model.norm.weight" trained : tensor<8xf32>
  return
}

// CHECK-LABEL: @token_logprobs
// CHECK: rl.token_logprobs %{{.*}}, %{{.*}} : tensor<2x3x50xf32>, tensor<2x3xi64> -> tensor<2x3xf32>
func.func @token_logprobs(%z: tensor<2x3x50xf32>, %y: tensor<2x3xi64>) {
  %l, %h, %n = rl.token_logprobs %z, %y : tensor<2x3x50xf32>, tensor<2x3xi64> -> tensor<2x3xf32>
  return
}

// CHECK-LABEL: @token_logprobs_of_some_rows
// CHECK: rl.token_logprobs %{{.*}}, %{{.*}} rows %{{.*}} : tensor<2x3x50xf32>, tensor<2x3xi64>, tensor<2x3xi1> -> tensor<2x3xf32>
func.func @token_logprobs_of_some_rows(%z: tensor<2x3x50xf32>, %y: tensor<2x3xi64>, %m: tensor<2x3xi1>) {
  %l, %h, %n = rl.token_logprobs %z, %y rows %m : tensor<2x3x50xf32>, tensor<2x3xi64>, tensor<2x3xi1> -> tensor<2x3xf32>
  return
}

// CHECK-LABEL: @token_loop
// CHECK: rl.token_loop %{{.*}} : tensor<2x3xi1> tokens(%{{.*}} : tensor<2x3x8xf32>) chunk = 2 gives(tensor<2x3x8xf32>) {
// CHECK: rl.yield %{{.*}} : tensor<2x1x8xf32>
func.func @token_loop(%m: tensor<2x3xi1>, %x: tensor<2x3x8xf32>) {
  %y = rl.token_loop %m : tensor<2x3xi1> tokens(%x : tensor<2x3x8xf32>) chunk = 2 gives(tensor<2x3x8xf32>) {
  ^bb0(%a: tensor<2x1x8xf32>):
    rl.yield %a : tensor<2x1x8xf32>
  }
  return
}

// CHECK-LABEL: @sequence_reduce
// CHECK: rl.sequence_reduce sum %{{.*}} mask %{{.*}} : tensor<2x3xf32>, tensor<2x3xi1> -> tensor<2xf32>
func.func @sequence_reduce(%x: tensor<2x3xf32>, %m: tensor<2x3xi1>) {
  %y = rl.sequence_reduce sum %x mask %m : tensor<2x3xf32>, tensor<2x3xi1> -> tensor<2xf32>
  return
}

// CHECK-LABEL: @sequence_broadcast
// CHECK: rl.sequence_broadcast %{{.*}} mask %{{.*}} : tensor<2xf32>, tensor<2x3xi1> -> tensor<2x3xf32>
func.func @sequence_broadcast(%x: tensor<2xf32>, %m: tensor<2x3xi1>) {
  %y = rl.sequence_broadcast %x mask %m : tensor<2xf32>, tensor<2x3xi1> -> tensor<2x3xf32>
  return
}

// CHECK-LABEL: @group_reduce
// CHECK: rl.group_reduce sum %{{.*}} ids %{{.*}} rows %{{.*}} : tensor<4xf32>, tensor<4xi32>, tensor<4xi1> -> tensor<4xf32>
func.func @group_reduce(%x: tensor<4xf32>, %g: tensor<4xi32>, %r: tensor<4xi1>) {
  %y = rl.group_reduce sum %x ids %g rows %r : tensor<4xf32>, tensor<4xi32>, tensor<4xi1> -> tensor<4xf32>
  return
}

// CHECK-LABEL: @batch_reduce
// CHECK: rl.batch_reduce sum %{{.*}} rows %{{.*}} : tensor<4xf32>, tensor<4xi1> -> tensor<f32>
func.func @batch_reduce(%x: tensor<4xf32>, %r: tensor<4xi1>) {
  %y = rl.batch_reduce sum %x rows %r : tensor<4xf32>, tensor<4xi1> -> tensor<f32>
  return
}

// CHECK-LABEL: @batch_broadcast
// CHECK: rl.batch_broadcast %{{.*}} rows %{{.*}} : tensor<f32>, tensor<4xi1> -> tensor<4xf32>
func.func @batch_broadcast(%x: tensor<f32>, %r: tensor<4xi1>) {
  %y = rl.batch_broadcast %x rows %r : tensor<f32>, tensor<4xi1> -> tensor<4xf32>
  return
}

// CHECK-LABEL: @stop_gradient
// CHECK: rl.stop_gradient %{{.*}} : tensor<2x3xf32>
func.func @stop_gradient(%x: tensor<2x3xf32>) {
  %y = rl.stop_gradient %x : tensor<2x3xf32>
  return
}

// Tests that flags, optional operands, and shapes without dimensions or elements survive.

// CHECK-LABEL: @parameter_fixed
// CHECK: rl.parameter "model.rotary.inv_freq" : tensor<4xf32>
func.func @parameter_fixed() {
  %w = rl.parameter "model.rotary.inv_freq" : tensor<4xf32>
  return
}

// CHECK-LABEL: @sequence_max
// CHECK: rl.sequence_reduce max %{{.*}} mask %{{.*}} : tensor<2x3xf64>, tensor<2x3xi1> -> tensor<2xf64>
func.func @sequence_max(%x: tensor<2x3xf64>, %m: tensor<2x3xi1>) {
  %y = rl.sequence_reduce max %x mask %m : tensor<2x3xf64>, tensor<2x3xi1> -> tensor<2xf64>
  return
}

// CHECK-LABEL: @group_min
// CHECK: rl.group_reduce min %{{.*}} ids %{{.*}} rows %{{.*}} : tensor<4xf32>, tensor<4xi64>, tensor<4xi1> -> tensor<4xf32>
func.func @group_min(%x: tensor<4xf32>, %g: tensor<4xi64>, %r: tensor<4xi1>) {
  %y = rl.group_reduce min %x ids %g rows %r : tensor<4xf32>, tensor<4xi64>, tensor<4xi1> -> tensor<4xf32>
  return
}

// CHECK-LABEL: @batch_broadcast_integer
// CHECK: rl.batch_broadcast %{{.*}} rows %{{.*}} : tensor<i64>, tensor<4xi1> -> tensor<4xi64>
func.func @batch_broadcast_integer(%x: tensor<i64>, %r: tensor<4xi1>) {
  %y = rl.batch_broadcast %x rows %r : tensor<i64>, tensor<4xi1> -> tensor<4xi64>
  return
}

// Tests that arguments and results keep their array's name.

// CHECK-LABEL: @names
// CHECK-SAME: (%{{.*}}: tensor<2x3xi64> {rl.name = "input_ids"}) -> (tensor<2x3xi64> {rl.name = "logprobs"})
func.func @names(%ids: tensor<2x3xi64> {rl.name = "input_ids"}) -> (tensor<2x3xi64> {rl.name = "logprobs"}) {
  return %ids : tensor<2x3xi64>
}
