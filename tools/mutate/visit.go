package main

import (
	"go/ast"
	"go/constant"
	"go/token"
	"go/types"
	"strconv"
)

// swapped is what an operator becomes. A comparison of order keeps its direction and moves its bound by one: the
// opposite would be noticed by any test.
var swapped = map[token.Token]token.Token{
	token.EQL: token.NEQ, token.NEQ: token.EQL,
	token.LSS: token.LEQ, token.LEQ: token.LSS, token.GTR: token.GEQ, token.GEQ: token.GTR,
	token.LAND: token.LOR, token.LOR: token.LAND,
	token.ADD: token.SUB, token.SUB: token.ADD, token.MUL: token.QUO, token.QUO: token.MUL, token.REM: token.QUO,
	token.SHL: token.SHR, token.SHR: token.SHL, token.AND: token.OR, token.OR: token.AND, token.XOR: token.OR,
	token.ADD_ASSIGN: token.SUB_ASSIGN, token.SUB_ASSIGN: token.ADD_ASSIGN, token.MUL_ASSIGN: token.QUO_ASSIGN,
	token.XOR_ASSIGN: token.OR_ASSIGN, token.OR_ASSIGN: token.AND_ASSIGN,
	token.INC: token.DEC, token.DEC: token.INC,
}

// visit notes the mutants of a node, for ast.Inspect.
func (w *walker) visit(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.AssignStmt:
		w.assignment(n)
		for _, e := range n.Lhs {
			w.target(e)
		}
		for _, e := range n.Rhs {
			ast.Inspect(e, w.visit)
		}
		return false
	case *ast.RangeStmt:
		ast.Inspect(n.X, w.visit)
		ast.Inspect(n.Body, w.visit)
		return false
	case *ast.KeyValueExpr: // of a composite literal: the key is a name, or decides nothing
		ast.Inspect(n.Value, w.visit)
		return false
	case *ast.ForStmt:
		w.alone[n.Init], w.alone[n.Post] = true, true
	case *ast.IfStmt:
		w.alone[n.Init] = true
	case *ast.SwitchStmt:
		w.alone[n.Init] = true
	case *ast.ExprStmt:
		w.change(n.Pos(), n.End(), "", n, "(removed)")
	case *ast.IncDecStmt:
		w.change(n.TokPos, n.End(), swapped[n.Tok].String(), n, w.text(n.X)+swapped[n.Tok].String())
		w.change(n.Pos(), n.End(), "", n, "(removed)")
	case *ast.BranchStmt:
		if n.Tok == token.BREAK || n.Tok == token.CONTINUE {
			w.change(n.Pos(), n.End(), "", n, "(removed)")
		}
	case *ast.GenDecl:
		if n.Tok == token.CONST {
			w.nested++
			for _, spec := range n.Specs {
				if v, ok := spec.(*ast.ValueSpec); ok {
					for _, e := range v.Values {
						ast.Inspect(e, w.visit)
					}
				}
			}
			w.nested--
			return false
		}
	case ast.Expr:
		return w.expression(n)
	}
	return true
}

// target goes through what is assigned to: an index or a call in it decides something, the variable does not.
func (w *walker) target(e ast.Expr) {
	switch e := e.(type) {
	case *ast.IndexExpr:
		w.target(e.X)
		ast.Inspect(e.Index, w.visit)
	case *ast.SelectorExpr:
		w.target(e.X)
	case *ast.StarExpr:
		w.target(e.X)
	case *ast.CallExpr:
		ast.Inspect(e, w.visit)
	}
}

// assignment removes it, but computes what it would have assigned.
func (w *walker) assignment(n *ast.AssignStmt) {
	if n.Tok == token.DEFINE {
		return
	}
	if to, ok := swapped[n.Tok]; ok {
		w.change(n.TokPos, n.TokPos+token.Pos(len(n.Tok.String())), to.String(), n, w.text(n.Lhs[0])+" "+to.String()+" "+w.text(n.Rhs[0]))
	}
	blank := ""
	for i := range n.Lhs {
		if i > 0 {
			blank += ", "
		}
		blank += "_"
	}
	values := ""
	for i, e := range n.Rhs {
		if i > 0 {
			values += ", "
		}
		if w.info.Types[e].IsNil() {
			values += "0"
		} else {
			values += w.text(e)
		}
	}
	w.change(n.Pos(), n.End(), blank+" = "+values, n, "(removed)")
}

// expression notes the mutants of an expression and says whether to go on to its parts.
func (w *walker) expression(e ast.Expr) bool {
	tv := w.info.Types[e]
	if tv.Value != nil && w.constant == nil {
		w.constant = e
		ast.Inspect(e, w.visit)
		w.constant = nil
		return false
	}
	switch e := e.(type) {
	case *ast.BinaryExpr:
		if to, ok := swapped[e.Op]; ok && (e.Op == token.EQL || e.Op == token.NEQ || e.Op == token.LAND || e.Op == token.LOR || numeric(w.info.Types[e.X].Type)) {
			left := e.X
			for x, ok := left.(*ast.BinaryExpr); ok && (x.Op == token.LAND || x.Op == token.LOR); x, ok = left.(*ast.BinaryExpr) {
				left = x.Y // of a chain the neighbour is enough to find it
			}
			what := w.text(left) + " " + e.Op.String() + " " + w.text(e.Y)
			w.describe(e.OpPos, e.OpPos+token.Pos(len(e.Op.String())), to.String(), e, what, w.text(left)+" "+to.String()+" "+w.text(e.Y))
		}
		return true
	case *ast.UnaryExpr:
		if e.Op == token.NOT {
			w.change(e.OpPos, e.OpPos+1, "", e, w.text(e.X))
			w.parts(e.X)
			return false
		}
		return true
	case *ast.BasicLit:
		if v := tv.Value; e.Kind == token.INT && v != nil {
			if n, exact := constant.Uint64Val(constant.ToInt(v)); exact && n < 1<<63 {
				w.change(e.Pos(), e.End(), strconv.FormatUint(n+1, 10), e, strconv.FormatUint(n+1, 10))
			}
		}
		return false
	case *ast.ParenExpr:
		return true
	case *ast.FuncLit:
		ast.Inspect(e.Body, w.visit)
		return false
	}
	if w.boolean(e) {
		if id, ok := e.(*ast.Ident); ok && tv.Value != nil {
			after := strconv.FormatBool(!constant.BoolVal(tv.Value))
			w.change(id.Pos(), id.End(), after, e, after)
		} else {
			w.change(e.Pos(), e.End(), "!("+w.text(e)+")", e, "!"+w.text(e))
		}
	}
	return w.parts(e)
}

// parts goes through the parts of an expression whose own value is not to be changed (again). It returns false.
func (w *walker) parts(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Ident:
	case *ast.SelectorExpr:
		w.parts(e.X)
	case *ast.CallExpr:
		w.parts(e.Fun)
		for _, a := range e.Args {
			ast.Inspect(a, w.visit)
		}
	case *ast.ParenExpr:
		w.visit(e)
		ast.Inspect(e.X, w.visit)
	case *ast.IndexExpr:
		w.parts(e.X)
		ast.Inspect(e.Index, w.visit)
	case *ast.FuncLit:
		ast.Inspect(e.Body, w.visit)
	case *ast.SliceExpr:
		w.parts(e.X)
		for _, i := range []ast.Expr{e.Low, e.High, e.Max} {
			if i != nil {
				ast.Inspect(i, w.visit)
			}
		}
	case *ast.CompositeLit:
		for _, v := range e.Elts {
			ast.Inspect(v, w.visit)
		}
	case *ast.StarExpr:
		w.parts(e.X)
	case *ast.TypeAssertExpr:
		w.parts(e.X)
	}
	return false
}

// boolean says whether an expression is a value of type bool.
func (w *walker) boolean(e ast.Expr) bool {
	tv, ok := w.info.Types[e]
	if !ok || !tv.IsValue() {
		return false
	}
	b, ok := tv.Type.Underlying().(*types.Basic)
	return ok && b.Info()&types.IsBoolean != 0
}

func numeric(t types.Type) bool {
	b, ok := t.Underlying().(*types.Basic)
	return ok && b.Info()&types.IsNumeric != 0
}
