// RUN: graft-opt %s --graft-row-program-to-vector --cse | FileCheck %s

// Tests that a row of one vector's length has no loop over columns.
// CHECK-LABEL: func.func @twice
// CHECK-SAME: %[[X:.*]]: memref<256xf32> {llvm.align = 4 : i64, llvm.readonly}, %[[Y:.*]]: memref<256xf32> {{.*}}, %[[BEGIN:.*]]: index, %[[END:.*]]: index
rt.row_program @twice rows [4] columns 64 (%x: !rt.access<f32, [64], 1>, %y: !rt.access<f32, [64], 1>) {
  // CHECK: scf.for %[[UNIT:.*]] = %[[BEGIN]] to %[[END]]
  // CHECK: %[[BASE:.*]] = arith.muli %[[UNIT]], %c64
  // CHECK-NEXT: %[[A:.*]] = vector.load %[[X]][%[[BASE]]]
  // CHECK-NEXT: %[[B:.*]] = arith.addf %[[A]], %[[A]] fastmath<contract> : vector<64xf32>
  // CHECK-NEXT: vector.store %[[B]], %[[Y]][%[[BASE]]]
  rt.sweep (%a = %x : !rt.access<f32, [64], 1>) writes (%y : !rt.access<f32, [64], 1>) {
    %b = arith.addf %a, %a : f32
    rt.yield %b : f32
  }
}

// Tests that a sum is a loop that carries a vector, one masked step, and one fold.
// CHECK-LABEL: func.func @sum
rt.row_program @sum rows [4] columns 200 (%x: !rt.access<f32, [200], 1, noalias, align 64>, %y: !rt.access<f32, [1], 0>) {
  // CHECK: %[[ZERO:.*]] = arith.constant dense<0.0
  // CHECK: %[[PARTIAL:.*]] = scf.for %{{.*}} = %c0 to %c192 step %c64 iter_args(%[[ACC:.*]] = %[[ZERO]])
  // CHECK: %[[A:.*]] = vector.load {{.*}} {alignment = 32 : i64}
  // CHECK: %[[NEXT:.*]] = arith.addf %[[ACC]], %[[A]]
  // CHECK: scf.yield %[[NEXT]]
  // CHECK: %[[MASK:.*]] = vector.constant_mask [8]
  // CHECK: %[[TAIL:.*]] = vector.maskedload {{.*}}, %[[MASK]], %[[ZERO]]
  // CHECK: %[[KEPT:.*]] = arith.select %[[MASK]], %[[TAIL]], %[[ZERO]]
  // CHECK: %[[ALL:.*]] = arith.addf %[[PARTIAL]], %[[KEPT]]
  // CHECK: %[[SUM:.*]] = vector.reduction <add>, %[[ALL]] fastmath<reassoc,contract>
  // CHECK: memref.store %[[SUM]]
  %s = rt.sweep (%a = %x : !rt.access<f32, [200], 1, noalias, align 64>) reduces (add : f32) {
    rt.yield %a : f32
  }
  rt.store %s, %y : f32, !rt.access<f32, [1], 0>
}

// Tests that doubles are summed as a tree of neighbours.
// CHECK-LABEL: func.func @sum_of_doubles
rt.row_program @sum_of_doubles rows [2] columns 4 (%x: !rt.access<f64, [4], 1>, %y: !rt.access<f64, [1], 0>) {
  // CHECK: %[[EVEN:.*]] = vector.shuffle %[[V:.*]], %[[V]] [0, 2] : vector<4xf64>
  // CHECK: %[[ODD:.*]] = vector.shuffle %[[V]], %[[V]] [1, 3] : vector<4xf64>
  // CHECK: %[[PAIRS:.*]] = arith.addf %[[EVEN]], %[[ODD]]
  // CHECK: vector.shuffle %[[PAIRS]], %[[PAIRS]] [0]
  // CHECK: vector.shuffle %[[PAIRS]], %[[PAIRS]] [1]
  %s = rt.sweep (%a = %x : !rt.access<f64, [4], 1>) reduces (add : f64) {
    rt.yield %a : f64
  }
  rt.store %s, %y : f64, !rt.access<f64, [1], 0>
}

// Tests that dimensions which every operand steps through evenly become one, and that bf16 and i1 travel as integers.
// CHECK-LABEL: func.func @merged
// CHECK-SAME: memref<1536xi16>
// CHECK-SAME: memref<64xi8>
rt.row_program @merged rows [2, 3, 4] columns 64 
    (%x: !rt.access<bf16, [768, 256, 64], 1>, %m: !rt.access<i1, [0, 0, 0], 1>, %y: !rt.access<f32, [768, 256, 64], 1>) {
  // CHECK-NOT: iter_args
  // CHECK: scf.for
  // CHECK-NOT: scf.for
  // CHECK: arith.shli {{.*}} : vector<64xi32>
  // CHECK: arith.bitcast {{.*}} : vector<64xi32> to vector<64xf32>
  // CHECK: arith.cmpi ne, {{.*}} : vector<64xi8>
  rt.sweep (%a = %x : !rt.access<bf16, [768, 256, 64], 1>, %b = %m: !rt.access<i1, [0, 0, 0], 1>)
      writes (%y : !rt.access<f32, [768, 256, 64], 1>) {
    %zero = arith.constant 0.0 : f32
    %c = arith.select %b, %a, %zero : f32
    rt.yield %c : f32
  }
}

// Tests that indices of unmerged units count with a carry after one division.
// CHECK-LABEL: func.func @carried
rt.row_program @carried rows [2, 3] columns 64 (%x: !rt.access<f32, [64, 128], 1>) {
  // CHECK: %[[INNER:.*]] = arith.remui %{{.*}}, %c3
  // CHECK: %[[OUTER:.*]] = arith.divui %{{.*}}, %c3
  // CHECK: scf.for {{.*}} iter_args(%[[I:.*]] = %[[OUTER]], %[[J:.*]] = %[[INNER]])
  // CHECK: %[[MORE:.*]] = arith.addi %[[J]], %c1
  // CHECK: %[[WRAPS:.*]] = arith.cmpi eq, %[[MORE]], %c3
  // CHECK: %[[NEXTJ:.*]] = arith.select %[[WRAPS]], %c0, %[[MORE]]
  // CHECK: %[[CARRY:.*]] = arith.index_castui %[[WRAPS]]
  // CHECK: %[[NEXTI:.*]] = arith.addi %[[I]], %[[CARRY]]
  // CHECK: scf.yield %[[NEXTI]], %[[NEXTJ]]
  rt.sweep (%a = %x : !rt.access<f32, [64, 128], 1>) writes (%x : !rt.access<f32, [64, 128], 1>) {
    %b = arith.addf %a, %a : f32
    rt.yield %b : f32
  }
}

// Tests that the first row of a group stores and the others add.
// CHECK-LABEL: func.func @columns
rt.row_program @columns rows [2, 8] columns 64 group 8 (%x: !rt.access<f32, [512, 64], 1>, %y: !rt.access<f32, [64, 0], 1, accumulate>) {
  // CHECK: scf.for
  // CHECK: scf.for %[[ROW:.*]] = %c0 to %c8
  // CHECK: %[[FIRST:.*]] = arith.cmpi eq, %[[ROW]], %c0
  // CHECK: %[[MASK:.*]] = vector.broadcast %[[FIRST]]
  // CHECK: %[[A:.*]] = vector.load %arg0
  // CHECK: %[[OLD:.*]] = vector.load %arg1
  // CHECK: %[[SUM:.*]] = arith.addf %[[OLD]], %[[A]]
  // CHECK: %[[NEW:.*]] = arith.select %[[MASK]], %[[A]], %[[SUM]]
  // CHECK: vector.store %[[NEW]], %arg1
  rt.sweep (%a = %x : !rt.access<f32, [512, 64], 1>) writes (%y : !rt.access<f32, [64, 0], 1, accumulate>) {
    rt.yield %a : f32
  }
}

// Tests that whole cache lines, and only those, go past the caches.
// CHECK-LABEL: func.func @past_caches
rt.row_program @past_caches rows [4] columns 72 (%y: !rt.access<f32, [80], 1, nontemporal, align 64>) {
  // CHECK: vector.store {{.*}} {alignment = 64 : i64, nontemporal = true}
  // CHECK: vector.maskedstore
  %c = arith.constant 1.0 : f32
  rt.sweep () writes (%y : !rt.access<f32, [80], 1, nontemporal, align 64>) {
    rt.yield %c : f32
  }
}

// Tests that a function which is no row program stays.
// CHECK-LABEL: func.func @untouched(
func.func @untouched(%x: f32) -> f32 {
  return %x : f32
}
