// RUN: graft-opt %s --verify-roundtrip | graft-opt | FileCheck %s
// RUN: graft-opt %s --mlir-print-op-generic | graft-opt | FileCheck %s

// Tests that the example of every operator is what it prints, in its own form and in the generic one.

// CHECK-LABEL: @sigmoid
// CHECK: nn.sigmoid %{{.*}} : tensor<2x3xf32>
func.func @sigmoid(%x: tensor<2x3xf32>) {
  %y = nn.sigmoid %x : tensor<2x3xf32>
  return
}

// CHECK-LABEL: @softplus
// CHECK: nn.softplus %{{.*}} : tensor<2x3xf32>
func.func @softplus(%x: tensor<2x3xf32>) {
  %y = nn.softplus %x : tensor<2x3xf32>
  return
}

// CHECK-LABEL: @broadcast
// CHECK: nn.broadcast %{{.*}} dims = [2] : tensor<8xf32> -> tensor<2x3x8xf32>
func.func @broadcast(%w: tensor<8xf32>) {
  %y = nn.broadcast %w dims = [2] : tensor<8xf32> -> tensor<2x3x8xf32>
  return
}

// CHECK-LABEL: @reshape
// CHECK: nn.reshape %{{.*}} : tensor<2x12xf32> -> tensor<2x3x4xf32>
func.func @reshape(%x: tensor<2x12xf32>) {
  %y = nn.reshape %x : tensor<2x12xf32> -> tensor<2x3x4xf32>
  return
}

// CHECK-LABEL: @transpose
// CHECK: nn.transpose %{{.*}} perm = [0, 2, 1] : tensor<2x3x4xf32> -> tensor<2x4x3xf32>
func.func @transpose(%x: tensor<2x3x4xf32>) {
  %y = nn.transpose %x perm = [0, 2, 1] : tensor<2x3x4xf32> -> tensor<2x4x3xf32>
  return
}

// CHECK-LABEL: @slice
// CHECK: nn.slice %{{.*}} starts = [0, 1] steps = [1, 2] : tensor<2x8xf32> -> tensor<2x3xf32>
func.func @slice(%x: tensor<2x8xf32>) {
  %y = nn.slice %x starts = [0, 1] steps = [1, 2] : tensor<2x8xf32> -> tensor<2x3xf32>
  return
}

// CHECK-LABEL: @pad
// CHECK: nn.pad %{{.*}} starts = [0, 1] steps = [1, 1] : tensor<2x3xf32> -> tensor<2x8xf32>
func.func @pad(%x: tensor<2x3xf32>) {
  %y = nn.pad %x starts = [0, 1] steps = [1, 1] : tensor<2x3xf32> -> tensor<2x8xf32>
  return
}

// CHECK-LABEL: @concat
// CHECK: nn.concat %{{.*}}, %{{.*}} axis = 1 : tensor<2x3xf32>, tensor<2x1xf32> -> tensor<2x4xf32>
func.func @concat(%a: tensor<2x3xf32>, %b: tensor<2x1xf32>) {
  %y = nn.concat %a, %b axis = 1 : tensor<2x3xf32>, tensor<2x1xf32> -> tensor<2x4xf32>
  return
}

// CHECK-LABEL: @iota
// CHECK: nn.iota axis = 1 : tensor<2x8xi64>
func.func @iota() {
  %i = nn.iota axis = 1 : tensor<2x8xi64>
  return
}

// CHECK-LABEL: @reduce
// CHECK: nn.reduce sum %{{.*}} axes = [1] : tensor<2x3xf32> -> tensor<2xf32>
func.func @reduce(%x: tensor<2x3xf32>) {
  %s = nn.reduce sum %x axes = [1] : tensor<2x3xf32> -> tensor<2xf32>
  return
}

// CHECK-LABEL: @cumsum
// CHECK: nn.cumsum %{{.*}} axis = 1 : tensor<2x3xi64>
func.func @cumsum(%x: tensor<2x3xi64>) {
  %s = nn.cumsum %x axis = 1 : tensor<2x3xi64>
  return
}

// CHECK-LABEL: @softmax
// CHECK: nn.softmax %{{.*}} mask %{{.*}} axis = 3 : tensor<1x2x4x4xf32>, tensor<1x2x4x4xi1> -> tensor<1x2x4x4xf32>
func.func @softmax(%s: tensor<1x2x4x4xf32>, %m: tensor<1x2x4x4xi1>) {
  %p = nn.softmax %s mask %m axis = 3 : tensor<1x2x4x4xf32>, tensor<1x2x4x4xi1> -> tensor<1x2x4x4xf32>
  return
}

// CHECK-LABEL: @log_softmax
// CHECK: nn.log_softmax %{{.*}} axis = 1 : tensor<2x3xf32>
func.func @log_softmax(%x: tensor<2x3xf32>) {
  %l = nn.log_softmax %x axis = 1 : tensor<2x3xf32>
  return
}

// CHECK-LABEL: @contract
// CHECK: nn.contract "bsk,nk->bsn" %{{.*}}, %{{.*}} : tensor<2x3x8xf32>, tensor<5x8xf32> -> tensor<2x3x5xf32>
func.func @contract(%x: tensor<2x3x8xf32>, %w: tensor<5x8xf32>) {
  %y = nn.contract "bsk,nk->bsn" %x, %w : tensor<2x3x8xf32>, tensor<5x8xf32> -> tensor<2x3x5xf32>
  return
}

// CHECK-LABEL: @gather
// CHECK: nn.gather %{{.*}}, %{{.*}} axis = 0 : tensor<50x8xf32>, tensor<2x3xi64> -> tensor<2x3x8xf32>
func.func @gather(%table: tensor<50x8xf32>, %ids: tensor<2x3xi64>) {
  %e = nn.gather %table, %ids axis = 0 : tensor<50x8xf32>, tensor<2x3xi64> -> tensor<2x3x8xf32>
  return
}

// CHECK-LABEL: @scatter_add
// CHECK: nn.scatter_add %{{.*}}, %{{.*}} axis = 0 : tensor<2x3x8xf32>, tensor<2x3xi64> -> tensor<50x8xf32>
func.func @scatter_add(%u: tensor<2x3x8xf32>, %ids: tensor<2x3xi64>) {
  %g = nn.scatter_add %u, %ids axis = 0 : tensor<2x3x8xf32>, tensor<2x3xi64> -> tensor<50x8xf32>
  return
}

// CHECK-LABEL: @gather_elements
// CHECK: nn.gather_elements %{{.*}}, %{{.*}} axis = 1 : tensor<2x9xf32>, tensor<2x1xi64> -> tensor<2x1xf32>
func.func @gather_elements(%x: tensor<2x9xf32>, %i: tensor<2x1xi64>) {
  %p = nn.gather_elements %x, %i axis = 1 : tensor<2x9xf32>, tensor<2x1xi64> -> tensor<2x1xf32>
  return
}

// CHECK-LABEL: @scatter_elements_add
// CHECK: nn.scatter_elements_add %{{.*}}, %{{.*}} axis = 1 : tensor<2x1xf32>, tensor<2x1xi64> -> tensor<2x9xf32>
func.func @scatter_elements_add(%u: tensor<2x1xf32>, %i: tensor<2x1xi64>) {
  %g = nn.scatter_elements_add %u, %i axis = 1 : tensor<2x1xf32>, tensor<2x1xi64> -> tensor<2x9xf32>
  return
}

// CHECK-LABEL: @rms_norm
// CHECK: nn.rms_norm %{{.*}} epsilon = 1.000000e-05 : tensor<2x3x8xf32>
func.func @rms_norm(%x: tensor<2x3x8xf32>) {
  %y = nn.rms_norm %x epsilon = 1.0e-5 : tensor<2x3x8xf32>
  return
}

// CHECK-LABEL: @layer_norm
// CHECK: nn.layer_norm %{{.*}} epsilon = 1.000000e-05 : tensor<2x3x8xf32>
func.func @layer_norm(%x: tensor<2x3x8xf32>) {
  %y = nn.layer_norm %x epsilon = 1.0e-5 : tensor<2x3x8xf32>
  return
}

// CHECK-LABEL: @rope
// CHECK: nn.rope %{{.*}}, %{{.*}}, %{{.*}} : tensor<2x3x8xf32>, tensor<2x3x4xf32>, tensor<2x3x4xf32> -> tensor<2x3x8xf32>
func.func @rope(%x: tensor<2x3x8xf32>, %c: tensor<2x3x4xf32>, %s: tensor<2x3x4xf32>) {
  %y = nn.rope %x, %c, %s : tensor<2x3x8xf32>, tensor<2x3x4xf32>, tensor<2x3x4xf32> -> tensor<2x3x8xf32>
  return
}

// CHECK-LABEL: @attention
// CHECK: nn.attention %{{.*}}, %{{.*}}, %{{.*}} valid %{{.*}} {causal, scale = 1.250000e-01 : f64} : (tensor<1x4x3x8xf32>, tensor<1x2x3x8xf32>, tensor<1x2x3x8xf32>, tensor<1x3xi1>) -> tensor<1x4x3x8xf32>
func.func @attention(%q: tensor<1x4x3x8xf32>, %k: tensor<1x2x3x8xf32>, %v: tensor<1x2x3x8xf32>, %m: tensor<1x3xi1>) {
  %o, %lse = nn.attention %q, %k, %v valid %m {causal, scale = 1.250000e-01 : f64} : (tensor<1x4x3x8xf32>, tensor<1x2x3x8xf32>, tensor<1x2x3x8xf32>, tensor<1x3xi1>) -> tensor<1x4x3x8xf32>
  return
}

// CHECK-LABEL: @attention_gradient
// CHECK: nn.attention_gradient %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} {causal, scale = 1.250000e-01 : f64} : tensor<1x4x3x8xf32>, tensor<1x2x3x8xf32>, tensor<1x2x3x8xf32>, tensor<1x4x3x8xf32>
func.func @attention_gradient(%q: tensor<1x4x3x8xf32>, %k: tensor<1x2x3x8xf32>, %v: tensor<1x2x3x8xf32>, %o: tensor<1x4x3x8xf32>, %n: tensor<1x4x3xf32>, %g: tensor<1x4x3x8xf32>) {
  %dq, %dk, %dv = nn.attention_gradient %q, %k, %v, %o, %n, %g {causal, scale = 1.250000e-01 : f64} : tensor<1x4x3x8xf32>, tensor<1x2x3x8xf32>, tensor<1x2x3x8xf32>, tensor<1x4x3x8xf32>
  return
}

// CHECK-LABEL: @attention_gradient_everything
// CHECK: nn.attention_gradient {{.*}} valid %{{.*}} segments %{{.*}} {scale = 1.000000e+00 : f64, window = 2 : i64} : {{.*}}, tensor<1x3xi1> segments tensor<1x3xi64>
func.func @attention_gradient_everything(%q: tensor<1x2x3x8xf32>, %n: tensor<1x2x3xf32>, %m: tensor<1x3xi1>, %s: tensor<1x3xi64>) {
  %dq, %dk, %dv = nn.attention_gradient %q, %q, %q, %q, %n, %q valid %m segments %s {scale = 1.0 : f64, window = 2 : i64} : tensor<1x2x3x8xf32>, tensor<1x2x3x8xf32>, tensor<1x2x3x8xf32>, tensor<1x2x3x8xf32>, tensor<1x3xi1> segments tensor<1x3xi64>
  return
}

// Tests that flags, optional operands, and shapes without dimensions or elements survive.

// CHECK-LABEL: @broadcast_scalar
// CHECK: nn.broadcast %{{.*}} dims = [] : tensor<i1> -> tensor<2x3xi1>
func.func @broadcast_scalar(%x: tensor<i1>) {
  %y = nn.broadcast %x dims = [] : tensor<i1> -> tensor<2x3xi1>
  return
}

// CHECK-LABEL: @reshape_scalar
// CHECK: nn.reshape %{{.*}} : tensor<1x1xbf16> -> tensor<bf16>
func.func @reshape_scalar(%x: tensor<1x1xbf16>) {
  %y = nn.reshape %x : tensor<1x1xbf16> -> tensor<bf16>
  return
}

// CHECK-LABEL: @transpose_scalar
// CHECK: nn.transpose %{{.*}} perm = [] : tensor<f32> -> tensor<f32>
func.func @transpose_scalar(%x: tensor<f32>) {
  %y = nn.transpose %x perm = [] : tensor<f32> -> tensor<f32>
  return
}

// CHECK-LABEL: @slice_empty
// CHECK: nn.slice %{{.*}} starts = [8] steps = [1] : tensor<8xi8> -> tensor<0xi8>
func.func @slice_empty(%x: tensor<8xi8>) {
  %y = nn.slice %x starts = [8] steps = [1] : tensor<8xi8> -> tensor<0xi8>
  return
}

// CHECK-LABEL: @concat_one
// CHECK: nn.concat %{{.*}} axis = 0 : tensor<2x3xi64> -> tensor<2x3xi64>
func.func @concat_one(%x: tensor<2x3xi64>) {
  %y = nn.concat %x axis = 0 : tensor<2x3xi64> -> tensor<2x3xi64>
  return
}

// CHECK-LABEL: @reduce_max
// CHECK: nn.reduce max %{{.*}} axes = [0, 1] : tensor<2x3xi1> -> tensor<i1>
func.func @reduce_max(%x: tensor<2x3xi1>) {
  %y = nn.reduce max %x axes = [0, 1] : tensor<2x3xi1> -> tensor<i1>
  return
}

// CHECK-LABEL: @reduce_min
// CHECK: nn.reduce min %{{.*}} axes = [0] : tensor<2x3xi32> -> tensor<3xi32>
func.func @reduce_min(%x: tensor<2x3xi32>) {
  %y = nn.reduce min %x axes = [0] : tensor<2x3xi32> -> tensor<3xi32>
  return
}

// CHECK-LABEL: @reduce_prod
// CHECK: nn.reduce prod %{{.*}} axes = [] : tensor<2x3xf64> -> tensor<2x3xf64>
func.func @reduce_prod(%x: tensor<2x3xf64>) {
  %y = nn.reduce prod %x axes = [] : tensor<2x3xf64> -> tensor<2x3xf64>
  return
}

// CHECK-LABEL: @cumsum_exclusive
// CHECK: nn.cumsum %{{.*}} axis = 1 exclusive : tensor<2x3xf32>
func.func @cumsum_exclusive(%x: tensor<2x3xf32>) {
  %y = nn.cumsum %x axis = 1 exclusive : tensor<2x3xf32>
  return
}

// CHECK-LABEL: @cumsum_reverse
// CHECK: nn.cumsum %{{.*}} axis = 0 reverse : tensor<2x3xf32>
func.func @cumsum_reverse(%x: tensor<2x3xf32>) {
  %y = nn.cumsum %x axis = 0 reverse : tensor<2x3xf32>
  return
}

// CHECK-LABEL: @cumsum_both
// CHECK: nn.cumsum %{{.*}} axis = 0 exclusive reverse : tensor<2x3xf32>
func.func @cumsum_both(%x: tensor<2x3xf32>) {
  %y = nn.cumsum %x axis = 0 exclusive reverse : tensor<2x3xf32>
  return
}

// CHECK-LABEL: @softmax_unmasked
// CHECK: nn.softmax %{{.*}} axis = 0 : tensor<2x3xf32> -> tensor<2x3xf32>
func.func @softmax_unmasked(%x: tensor<2x3xf32>) {
  %y = nn.softmax %x axis = 0 : tensor<2x3xf32> -> tensor<2x3xf32>
  return
}

// CHECK-LABEL: @contract_outer
// CHECK: nn.contract "a,b->ab" %{{.*}}, %{{.*}} : tensor<2xf32>, tensor<3xf32> -> tensor<2x3xf32>
func.func @contract_outer(%x: tensor<2xf32>, %z: tensor<3xf32>) {
  %y = nn.contract "a,b->ab" %x, %z : tensor<2xf32>, tensor<3xf32> -> tensor<2x3xf32>
  return
}

// CHECK-LABEL: @contract_scalar
// CHECK: nn.contract ",->" %{{.*}}, %{{.*}} : tensor<f32>, tensor<f32> -> tensor<f32>
func.func @contract_scalar(%x: tensor<f32>, %z: tensor<f32>) {
  %y = nn.contract ",->" %x, %z : tensor<f32>, tensor<f32> -> tensor<f32>
  return
}

// CHECK-LABEL: @rope_interleaved
// CHECK: nn.rope %{{.*}}, %{{.*}}, %{{.*}} interleaved : tensor<2x8xf32>, tensor<2x4xf32>, tensor<2x4xf32> -> tensor<2x8xf32>
func.func @rope_interleaved(%x: tensor<2x8xf32>, %c: tensor<2x4xf32>) {
  %y = nn.rope %x, %c, %c interleaved : tensor<2x8xf32>, tensor<2x4xf32>, tensor<2x4xf32> -> tensor<2x8xf32>
  return
}

// CHECK-LABEL: @attention_plain
// CHECK: nn.attention %{{.*}}, %{{.*}}, %{{.*}} {scale = 1.000000e+00 : f64} : (tensor<1x2x3x8xf32>, tensor<1x2x5x8xf32>, tensor<1x2x5x6xf32>) -> tensor<1x2x3x6xf32>
func.func @attention_plain(%q: tensor<1x2x3x8xf32>, %k: tensor<1x2x5x8xf32>, %v: tensor<1x2x5x6xf32>) {
  %o, %lse = nn.attention %q, %k, %v {scale = 1.0 : f64} : (tensor<1x2x3x8xf32>, tensor<1x2x5x8xf32>, tensor<1x2x5x6xf32>) -> tensor<1x2x3x6xf32>
  return
}

// CHECK-LABEL: @attention_everything
// CHECK: nn.attention %{{.*}}, %{{.*}}, %{{.*}} valid %{{.*}} segments %{{.*}} bias %{{.*}} {causal, scale = 5.000000e-01 : f64, softcap = 3.000000e+01 : f64, window = 4 : i64} : (tensor<1x4x3x8xf32>, tensor<1x2x3x8xf32>, tensor<1x2x3x8xf32>, tensor<1x3xi1>, tensor<1x3xi32>, tensor<1x4x3x3xf32>) -> tensor<1x4x3x8xf32>
func.func @attention_everything(%q: tensor<1x4x3x8xf32>, %k: tensor<1x2x3x8xf32>, %m: tensor<1x3xi1>, %s: tensor<1x3xi32>, %b: tensor<1x4x3x3xf32>) {
  %o, %lse = nn.attention %q, %k, %k valid %m segments %s bias %b {causal, scale = 5.000000e-01 : f64, softcap = 3.000000e+01 : f64, window = 4 : i64} : (tensor<1x4x3x8xf32>, tensor<1x2x3x8xf32>, tensor<1x2x3x8xf32>, tensor<1x3xi1>, tensor<1x3xi32>, tensor<1x4x3x3xf32>) -> tensor<1x4x3x8xf32>
  return
}

// CHECK-LABEL: @attention_two_rows_of_segments
// CHECK: nn.attention %{{.*}}, %{{.*}}, %{{.*}} segments %{{.*}} {causal, scale = 1.000000e+00 : f64} : (tensor<1x2x3x8xf32>, tensor<1x2x3x8xf32>, tensor<1x2x3x8xf32>, tensor<1x2x3xi64>) -> tensor<1x2x3x8xf32>
// CHECK: nn.attention_gradient {{.*}} segments %{{.*}} {causal, scale = 1.000000e+00 : f64} : {{.*}} segments tensor<1x2x3xi64>
func.func @attention_two_rows_of_segments(%q: tensor<1x2x3x8xf32>, %s: tensor<1x2x3xi64>) {
  %o, %lse = nn.attention %q, %q, %q segments %s {causal, scale = 1.0 : f64} : (tensor<1x2x3x8xf32>, tensor<1x2x3x8xf32>, tensor<1x2x3x8xf32>, tensor<1x2x3xi64>) -> tensor<1x2x3x8xf32>
  %dq, %dk, %dv = nn.attention_gradient %q, %q, %q, %o, %lse, %q segments %s {causal, scale = 1.0 : f64} : tensor<1x2x3x8xf32>, tensor<1x2x3x8xf32>, tensor<1x2x3x8xf32>, tensor<1x2x3x8xf32> segments tensor<1x2x3xi64>
  return
}

// CHECK-LABEL: @attribute_dictionary
// CHECK: nn.sigmoid %{{.*}} {note = "kept"} : tensor<2x3xf32>
func.func @attribute_dictionary(%x: tensor<2x3xf32>) {
  %y = nn.sigmoid %x {note = "kept"} : tensor<2x3xf32>
  return
}
