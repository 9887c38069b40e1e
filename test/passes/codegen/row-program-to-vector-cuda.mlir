// RUN: graft-opt %s --graft-row-program-to-vector=target=cuda --cse | FileCheck %s

// Tests that a warp takes every fourth unit of its block, and each lane the columns that are its own.
// CHECK-LABEL: func.func @twice
// CHECK-SAME: %[[BEGIN:.*]]: index, %[[END:.*]]: index) attributes {passthrough = {{\[\[}}"nvvm.reqntid", "128"], ["nvvm.minctasm", "2"]]}
// CHECK: %[[THREAD:.*]] = nvvm.read.ptx.sreg.tid.x
// CHECK: %[[LANE:.*]] = arith.andi %[[THREAD]], %c31
// CHECK: %[[WARP:.*]] = arith.shrui %[[THREAD]], %c5
// CHECK: %[[FIRST:.*]] = arith.muli %{{.*}}, %c4
// CHECK: %[[BLOCK:.*]] = nvvm.read.ptx.sreg.ctaid.x
// CHECK: %[[BLOCKS:.*]] = nvvm.read.ptx.sreg.nctaid.x
// CHECK: scf.for %{{.*}} = %{{.*}} to %[[END]]
// CHECK: scf.for %{{.*}} = %[[FIRST]] to %c576 step %c128
// CHECK: vector.load {{.*}} {alignment = 16 : i64} : memref<{{.*}}>, vector<4xf32>
// CHECK-NOT: mask
rt.row_program @twice rows [4] columns 576 (%x: !rt.access<f32, [576], 1, align 64>, %y: !rt.access<f32, [576], 1, align 64>) {
  rt.sweep (%a = %x : !rt.access<f32, [576], 1, align 64>) writes (%y : !rt.access<f32, [576], 1, align 64>) {
    %b = arith.addf %a, %a : f32
    rt.yield %b : f32
  }
}

// Tests that a value which the row reads again is stored between two meetings of the group.
// CHECK-LABEL: func.func @again
// CHECK: nvvm.bar.warp.sync
// CHECK: %[[ISFIRST:.*]] = arith.cmpi eq
// CHECK-NEXT: scf.if %[[ISFIRST]]
// CHECK-NEXT: memref.store
// CHECK: nvvm.bar.warp.sync
// CHECK-NEXT: memref.load
rt.row_program @again rows [4] columns 64 (%v: !rt.access<f32, [1], 0>, %y: !rt.access<f32, [64], 1>) {
  %one = arith.constant 1.0 : f32
  rt.store %one, %v : f32, !rt.access<f32, [1], 0>
  %r = rt.load %v : !rt.access<f32, [1], 0> -> f32
  rt.sweep () writes (%y : !rt.access<f32, [64], 1>) {
    rt.yield %r : f32
  }
}

// Tests that a value which nothing reads is stored without.
// CHECK-LABEL: func.func @alone
// CHECK-NOT: sync
// CHECK: return
rt.row_program @alone rows [4] columns 64 (%v: !rt.access<f32, [1], 0>, %w: !rt.access<f32, [1], 0, noalias>) {
  %r = rt.load %w : !rt.access<f32, [1], 0, noalias> -> f32
  rt.store %r, %v : f32, !rt.access<f32, [1], 0>
}

// Tests that indices of unmerged units are divided anew for each unit, which comes from anywhere.
// CHECK-LABEL: func.func @unmerged
// CHECK: scf.for %[[UNIT:.*]] =
// CHECK-NOT: iter_args
// CHECK: arith.remui %[[UNIT]], %c3
rt.row_program @unmerged rows [2, 3] columns 64 (%x: !rt.access<f32, [64, 128], 1>) {
  rt.sweep (%a = %x : !rt.access<f32, [64, 128], 1>) writes (%x : !rt.access<f32, [64, 128], 1>) {
    %b = arith.addf %a, %a : f32
    rt.yield %b : f32
  }
}

// Tests that a scratch row which shared memory has no room for is kept by the lanes, each its own vectors.
// CHECK-LABEL: func.func @large
// CHECK: %[[OWN:.*]] = memref.alloca() {alignment = 64 : i64} : memref<64xf32>
// CHECK: %[[STEP:.*]] = arith.divui %{{.*}}, %c1024
// CHECK: %[[PLACE:.*]] = arith.muli %[[STEP]], %c4
// CHECK: vector.store %{{.*}}, %[[OWN]][%[[PLACE]]]
rt.row_program @large rows [4] columns 16384 (%x: !rt.access<f32, [16384], 1, align 64>) {
  %s = rt.scratch : !rt.scratch<f32>
  rt.sweep (%a = %x : !rt.access<f32, [16384], 1, align 64>) writes (%s : !rt.scratch<f32>) {
    rt.yield %a : f32
  }
}
