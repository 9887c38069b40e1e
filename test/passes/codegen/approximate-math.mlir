// RUN: graft-opt %s --graft-approximate-math --split-input-file --verify-diagnostics | FileCheck %s

// Tests that a reciprocal root is a root and a division.
// CHECK-LABEL: func.func @rsqrt(
func.func @rsqrt(%x: vector<64xf32>) -> vector<64xf32> {
  // CHECK: %[[ROOT:.*]] = math.sqrt
  // CHECK: arith.divf %{{.*}}, %[[ROOT]]
  %r = math.rsqrt %x : vector<64xf32>
  return %r : vector<64xf32>
}

// Tests that functions become arithmetic, at scalar type too.
// CHECK-LABEL: func.func @functions(
// CHECK-NOT: math.{{exp|log|tanh|erf|sin|cos|powf}}
// CHECK: return
func.func @functions(%x: vector<16xf32>, %y: f32) -> (vector<16xf32>, f32) {
  %a = math.exp %x : vector<16xf32>
  %b = math.log1p %a : vector<16xf32>
  %c = math.sin %b : vector<16xf32>
  %d = math.powf %c, %x : vector<16xf32>
  %e = math.tanh %y : f32
  %f = math.cos %e : f32
  return %d, %f : vector<16xf32>, f32
}

// Tests that a constant small exponent is multiplication.
// CHECK-LABEL: func.func @square(
func.func @square(%x: vector<64xf32>) -> vector<64xf32> {
  // CHECK-NEXT: %[[Y:.*]] = arith.mulf %arg0, %arg0
  // CHECK-NEXT: return %[[Y]]
  %two = arith.constant dense<2.0> : vector<64xf32>
  %y = math.powf %x, %two : vector<64xf32>
  return %y : vector<64xf32>
}

// Tests that functions of doubles go through f32, and instructions of doubles do not.
// CHECK-LABEL: func.func @doubles(
func.func @doubles(%x: vector<64xf64>) -> vector<64xf64> {
  // CHECK: %[[ROOT:.*]] = math.sqrt {{.*}} : vector<64xf64>
  // CHECK: arith.truncf %[[ROOT]] : vector<64xf64> to vector<64xf32>
  // CHECK-NOT: math.exp
  // CHECK: arith.extf {{.*}} : vector<64xf32> to vector<64xf64>
  %a = math.sqrt %x : vector<64xf64>
  %b = math.exp %a : vector<64xf64>
  return %b : vector<64xf64>
}

// Tests that instructions stay as they are.
// CHECK-LABEL: func.func @instructions(
func.func @instructions(%x: vector<64xf32>) -> vector<64xf32> {
  // CHECK: math.sqrt
  // CHECK: math.absf
  // CHECK: math.floor
  %a = math.sqrt %x : vector<64xf32>
  %b = math.absf %a : vector<64xf32>
  %c = math.floor %b : vector<64xf32>
  return %c : vector<64xf32>
}

// -----
func.func @refused(%x: vector<64xi64>) -> vector<64xi64> {
  // expected-error @+1 {{has no form without a library call}}
  %y = math.ctpop %x : vector<64xi64>
  return %y : vector<64xi64>
}
