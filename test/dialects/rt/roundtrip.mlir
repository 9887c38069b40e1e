// RUN: graft-opt %s --verify-roundtrip | graft-opt | FileCheck %s

// Tests that every operation, type and flag prints what it parses.

// CHECK-LABEL: rt.row_program @everything rows [2, 3, 4] columns 100 group 4
// CHECK-SAME: (%[[X:.*]]: !rt.access<bf16, [1200, 100, 300], 1, noalias>, %[[M:.*]]: !rt.access<i1, [100, 0, 0], 1>,
// CHECK-SAME: %[[Y:.*]]: !rt.access<f32, [2304, 768, 192], 1, nontemporal, align 64>, %[[Z:.*]]: !rt.access<f32, [3, 1, 0], 0, accumulate>,
// CHECK-SAME: %[[IDS:.*]]: !rt.access<i64, [12, 4, 1], 0>)
rt.row_program @everything rows [2, 3, 4] columns 100 group 4
    (%x: !rt.access<bf16, [1200, 100, 300], 1, noalias>, %m : !rt.access<i1, [100, 0, 0], 1>,
     %y: !rt.access<f32, [2304, 768, 192], 1, nontemporal, align 64>, %z: !rt.access<f32, [3, 1, 0], 0, accumulate>,
     %ids: !rt.access<i64, [12, 4, 1], 0, align 8>) attributes {kernel.note = "kept"} {
  // CHECK: %[[E:.*]] = rt.scratch : !rt.scratch<f32>
  %e = rt.scratch : !rt.scratch<f32>
  // CHECK: %[[I:.*]] = rt.row_index 2 : i32
  %i = rt.row_index 2 : i32
  // CHECK: %[[ID:.*]] = rt.load %[[IDS]] : !rt.access<i64, [12, 4, 1], 0> -> i64
  %id = rt.load %ids : !rt.access<i64, [12, 4, 1], 0> -> i64
  %zero = arith.constant 0.0 : f32
  // CHECK: %[[R:.*]]:2 = rt.sweep (%[[A:.*]] = %[[X]] : !rt.access<bf16, [1200, 100, 300], 1, noalias>, %[[K:.*]] = %[[M]] : !rt.access<i1, [100, 0, 0], 1>)
  // CHECK-SAME: writes (%[[E]] : !rt.scratch<f32>) reduces (max : f32, or : i1)
  %max, %any = rt.sweep (%a = %x : !rt.access<bf16, [1200, 100, 300], 1, noalias>, %k = %m : !rt.access<i1, [100, 0, 0], 1>)
      writes (%e : !rt.scratch<f32>) reduces (max : f32, or : i1) {
    // CHECK: rt.column_index : i32
    %j = rt.column_index : i32
    %causal = arith.cmpi sle, %j, %i : i32
    %keep = arith.andi %causal, %k : i1
    %b = arith.select %keep, %a, %zero : f32
    // CHECK: rt.yield %{{.*}}, %{{.*}}, %{{.*}} : f32, f32, i1
    rt.yield %b, %b, %keep : f32, f32, i1
  }
  // CHECK: rt.store %[[R]]#0, %[[Z]] : f32, !rt.access<f32, [3, 1, 0], 0, accumulate>
  rt.store %max, %z : f32, !rt.access<f32, [3, 1, 0], 0, accumulate>
  // CHECK: rt.sweep () writes (%[[Y]] : !rt.access<f32, [2304, 768, 192], 1, nontemporal, align 64>) {
  rt.sweep () writes (%y : !rt.access<f32, [2304, 768, 192], 1, nontemporal, align 64>) {
    rt.yield %max : f32
  }
}
// CHECK: rt.row_program @empty rows [1] columns 1 () {
rt.row_program @empty rows [1] columns 1 () {}
