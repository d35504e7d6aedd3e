package express

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
)

// start is when all scenarios begin: not at a whole second, as expiries are cut
// to seconds in a cookie.
const start = 1893456000250 // 2030-01-01T00:00:00.250Z

const minute = 60000

func act(op string) Action { return Action{Op: op} }

func actOn(op, key, value string) Action {
	a := Action{Op: op, Key: key}
	if value != "" {
		a.Value = json.RawMessage(value)
	}
	return a
}

// handlers are the rows of the tables in which express-session was described.
var handlers = map[string][]Action{
	"nothing":            {},
	"read":               {act("id"), actOn("get", "user", ""), act("left"), act("period")},
	"touch":              {act("touch")},
	"modify":             {actOn("set", "user", `"tj"`)},
	"deep":               {actOn("push", "list", "1")},
	"same":               {actOn("same", "user", "")},
	"delete":             {actOn("del", "user", "")},
	"put back":           {actOn("del", "user", ""), actOn("set", "user", `"aaron"`)},
	"put elsewhere":      {actOn("del", "user", ""), actOn("set", "user", `"tj"`), actOn("set", "2", "2"), actOn("set", "1", "1")},
	"save":               {act("save")},
	"modify+save":        {actOn("set", "user", `"tj"`), act("save")},
	"save+modify":        {act("save"), actOn("set", "user", `"tj"`)},
	"reload":             {act("reload")},
	"modify+reload":      {actOn("set", "user", `"tj"`), act("reload")},
	"save+reload":        {actOn("set", "user", `"tj"`), act("save"), act("reload"), act("period")},
	"maxAge":             {actOn("maxAge", "", "90000")},
	"maxAge null":        {actOn("maxAge", "", "null")},
	"maxAge+modify":      {actOn("maxAge", "", "90000"), actOn("set", "user", `"tj"`)},
	"maxAge+save":        {actOn("maxAge", "", "90000"), act("save")},
	"maxAge+reload":      {actOn("maxAge", "", "90000"), act("reload")},
	"originalMaxAge":     {actOn("originalMaxAge", "", "45000")},
	"expires":            {actOn("expires", "", strconv.Itoa(start+600000))},
	"attribute":          {actOn("attr", "priority", `"high"`)},
	"regenerate":         {act("regenerate")},
	"regenerate+modify":  {act("regenerate"), actOn("set", "user", `"tj"`)},
	"regenerate+save":    {act("regenerate"), act("save")},
	"modify+regenerate":  {actOn("set", "user", `"tj"`), act("regenerate"), actOn("get", "user", ""), act("id")},
	"regenerate twice":   {act("regenerate"), actOn("set", "a", "1"), act("regenerate"), actOn("set", "b", "2")},
	"regenerate+mistake": {act("regenerate"), act("null"), actOn("set", "user", `"tj"`)},
	"destroy":            {act("destroy")},
	"modify+destroy":     {actOn("set", "user", `"tj"`), act("destroy")},
	"save+destroy":       {actOn("set", "user", `"tj"`), act("save"), act("destroy")},
	"null":               {act("null")},
	"modify+null":        {actOn("set", "user", `"tj"`), act("null")},
	"destroy+modify":     {act("destroy"), actOn("set", "user", `"tj"`)},
	"write":              {act("write")},
	"write+modify":       {act("write"), actOn("set", "user", `"tj"`)},
	"modify+write":       {actOn("set", "user", `"tj"`), act("write"), actOn("set", "more", "true")},
}

var comings = []string{"", "none", "forged", "unsigned", "unknown", "old"}

// Systematic is the product of what decides, each scenario followed by a plain
// request of the same client.
func Systematic() []Scenario {
	names := make([]string, 0, len(handlers))
	for name := range handlers {
		names = append(names, name)
	}
	slices.Sort(names)
	var all []Scenario
	for _, name := range names {
		for _, coming := range comings {
			for bits := range 32 {
				o := baseOpts()
				o.Resave, o.SaveUninitialized, o.Rolling = bits&1 != 0, bits&2 != 0, bits&4 != 0
				if bits&8 != 0 {
					o.Cookie.MaxAge = minute
				}
				if bits&16 != 0 {
					if name != "null" && name != "destroy" && name != "modify+null" && name != "nothing" {
						continue
					}
					o.Unset = "destroy"
				}
				o.Secret = []string{"new secret", "keyboard cat"}
				sc := Scenario{Seed: fmt.Sprintf("%s/%q/%d", name, coming, bits), Follow: "ours"}
				if bits&4 != 0 != (name == "maxAge") {
					sc.Follow = "express"
				}
				if coming == "" || coming == "old" {
					sc.Steps = append(sc.Steps, Step{Opts: o, Req: get(), Actions: []Action{actOn("set", "user", `"aaron"`), actOn("set", "n", "1")}, End: "end"})
				}
				step := Step{Wait: 10000, Opts: o, Req: get(), Actions: handlers[name], End: "end"}
				step.Req.Cookie = coming
				sc.Steps = append(sc.Steps, step,
					Step{Wait: 20000, Opts: o, Req: get(), Actions: []Action{actOn("get", "user", ""), act("period")}, End: "end"})
				all = append(all, sc)
			}
		}
	}
	return all
}

func get() Req { return Req{Method: "GET", Path: "/"} }

func baseOpts() Opts {
	return Opts{Secret: []string{"keyboard cat"}, Cookie: CookieOpts{Path: "/", HTTPOnly: true, Secure: false}}
}

// IDs are what the generators of both sides make in a step.
func (sc *Scenario) IDs(step int) []string {
	ids := make([]string, 6)
	for i := range ids {
		sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %d", sc.Seed, step, i))
		ids[i] = base64.RawURLEncoding.EncodeToString(sum[:24])
		switch sum[31] % 40 {
		case 0:
			ids[i] = "id.with.dots." + ids[i]
		case 1:
			ids[i] = "é☃ /%;,=" + ids[i]
		}
	}
	return ids
}

// A generator makes random scenarios.
type generator struct{ *rand.Rand }

func (g generator) one(of int) bool { return g.IntN(of) == 0 }

func pick[T any](g generator, from ...T) T { return from[g.IntN(len(from))] }

// Random makes the scenario with a number, always the same for a seed.
func Random(seed uint64, number int) Scenario {
	g := generator{rand.New(rand.NewPCG(seed, uint64(number)))}
	sc := Scenario{Seed: fmt.Sprintf("random/%d/%d", seed, number), Follow: pick(g, "ours", "express")}
	o, fn := g.opts()
	drift := g.one(25)
	for range 2 + g.IntN(4) {
		if g.one(5) {
			o = g.reconfigure(o)
		}
		step := Step{Wait: pick[int64](g, 0, 1000, 7777, 30000, 59000, 61000, 200000), Opts: o, Req: g.req(o), End: g.end(), Drift: drift}
		step.Req.Func = fn
		step.Actions = g.actions(&o)
		if drift {
			step.Actions = slices.DeleteFunc(step.Actions, func(a Action) bool { return a.Op == "tick" || a.Op == "left" })
		}
		sc.Steps = append(sc.Steps, step)
	}
	return sc
}

func (g generator) opts() (o Opts, fn bool) {
	o = baseOpts()
	o.Resave, o.SaveUninitialized, o.Rolling = g.one(3), g.one(3), g.one(3)
	if g.one(3) {
		o.Unset = pick(g, "keep", "destroy")
	}
	if g.one(2) {
		proxy := !g.one(4)
		o.Proxy = &proxy
	}
	if g.one(4) {
		o.Name = pick(g, "sid", "My-Session_1.2", "connect.sid")
	}
	if g.one(4) {
		o.Secret = []string{"second ключ☃", "keyboard cat"}
	}
	c := &o.Cookie
	switch g.IntN(5) {
	case 0, 1:
		c.MaxAge = pick[int64](g, minute, 1500, 86400000*400)
	case 2:
		c.Expires = start + pick[int64](g, 40000, 3600000, 7*86400000)
	}
	c.Path = pick(g, "/", "/", "/", "/admin", "/admin/")
	c.Domain = pick(g, "", "", "example.com", ".Example.com")
	c.HTTPOnly = !g.one(4)
	c.Secure = pick[any](g, false, false, true, "auto")
	c.SameSite = pick(g, "", "lax", "strict", "auto")
	if c.Secure == true {
		c.SameSite = pick(g, "", "none", "lax", "auto")
		c.Partitioned = g.one(3)
	}
	c.Priority = pick(g, "", "", "low", "Medium", "HIGH")
	return o, g.one(6)
}

// reconfigure is the server started again with other options.
func (g generator) reconfigure(o Opts) Opts {
	switch g.IntN(6) {
	case 0:
		o.Secret = append([]string{"newest"}, slices.DeleteFunc(slices.Clone(o.Secret), func(s string) bool { return s == "newest" })...)
	case 1:
		o.Resave = !o.Resave
	case 2:
		o.Rolling = !o.Rolling
	case 3:
		o.SaveUninitialized = !o.SaveUninitialized
	case 4:
		o.Cookie.Domain = pick(g, "", "example.com")
		o.Cookie.Priority = pick(g, "", "medium")
	case 5:
		o.Cookie.MaxAge, o.Cookie.Expires = pick[int64](g, 0, 120000), 0
	}
	return o
}

func (g generator) req(o Opts) Req {
	r := Req{Method: pick(g, "GET", "GET", "GET", "POST", "HEAD"), Path: "/admin/x"}
	if g.one(6) {
		r.Path = pick(g, "/", "/admin", "/administrator", "/Admin/x", "//admin/x", "/admin?x=/", "/other")
	}
	if o.Cookie.Secure != false || o.Cookie.SameSite == "auto" || g.one(8) {
		switch g.IntN(6) {
		case 0, 1:
			r.TLS = true
		case 2:
			r.AppSecure = true
		case 3, 4:
			r.Forwarded = pick(g, "https", "HTTPS , http", "http, https", "wss")
		}
	}
	r.Long = g.one(4)
	if g.one(4) {
		r.Cookie = pick(g, "none", "forged", "unsigned", "unknown", "empty", "garbage", "old", "quoted", "others", "forged first", "unknown first")
	}
	return r
}

func (g generator) end() string {
	return pick(g, "end", "end", "empty", "length", "redirect", "nocontent", "notmodified", "head")
}

var values = []string{`"tj"`, `""`, "\"<a href='x'>&\u2028</a> é☃ 💾 \\\" \\\\ \\n \\u0001\"", "0", "7", "-1", "9007199254740991", "1.5", "1e+21", "1e-7", "true", "false", "null", "[]", `[1,"a",{"b":null}]`, `{}`, `{"z":1,"a":{"y":[2]}}`}

func (g generator) key() string {
	return pick(g, "user", "n", "list", "a b", "é", `q"uote`, "2", "10")
}

func (g generator) action(o *Opts) Action {
	switch g.IntN(30) {
	case 0, 1, 2, 3, 4:
		key := g.key()
		if key == "list" {
			return actOn("push", key, pick(g, values...))
		}
		return actOn("set", key, pick(g, values...))
	case 5, 6:
		return actOn("push", "list", pick(g, values...))
	case 7, 8:
		return actOn("get", g.key(), "")
	case 9, 10:
		return actOn("same", g.key(), "")
	case 11:
		return actOn("del", g.key(), "")
	case 12, 13:
		return act("save")
	case 14:
		return act("touch")
	case 15, 16:
		return act("reload")
	case 17, 18:
		return act("regenerate")
	case 19:
		return act("destroy")
	case 20:
		return act("null")
	case 21:
		return actOn("maxAge", "", pick(g, "90000", "null", "1", "3600000", "0", "-5"))
	case 22:
		return actOn("expires", "", pick(g, "null", strconv.Itoa(start+600000), strconv.Itoa(start+86400000)))
	case 23:
		return actOn("originalMaxAge", "", pick(g, "45000", "null"))
	case 24:
		return g.attribute(o)
	case 25:
		return pick(g, act("id"), act("period"))
	case 26:
		return act("left")
	case 27:
		return actOn("tick", "", pick(g, "5", "1000", "2500"))
	case 28:
		return act("write")
	}
	if g.one(3) {
		return act("throw")
	}
	return act("other")
}

func (g generator) attribute(o *Opts) Action {
	switch g.IntN(6) {
	case 0:
		return actOn("attr", "path", pick(g, `"/"`, `"/admin"`))
	case 1:
		return actOn("attr", "domain", `"app.example.com"`)
	case 2:
		return actOn("attr", "httpOnly", pick(g, "true", "false"))
	case 3:
		switch o.Cookie.SameSite {
		case "":
			return actOn("attr", "sameSite", pick(g, `"lax"`, `"strict"`))
		case "auto": // which cannot be told from an assigned "lax" later
			return actOn("attr", "sameSite", pick(g, `"strict"`, "false"))
		}
		return actOn("attr", "sameSite", pick(g, `"lax"`, `"strict"`, "false"))
	case 4:
		if o.Cookie.SameSite != "none" && !o.Cookie.Partitioned && o.Cookie.Secure != "auto" { // which browsers accept only with Secure
			return actOn("attr", "secure", "false")
		}
	}
	return actOn("attr", "priority", pick(g, `"low"`, `"high"`))
}

// actions makes what a handler could be written to do: it does not go on with a
// session that it has ended, except now and then by mistake, and throws only
// before it writes.
func (g generator) actions(o *Opts) []Action {
	var list []Action
	wrote, ended := false, false
	for range g.IntN(6) {
		a := g.action(o)
		switch a.Op {
		case "throw":
			if wrote {
				continue
			}
		case "write":
			wrote = true
		case "other":
			if wrote {
				continue
			}
		case "get", "id", "left", "period", "tick":
		default:
			if ended && (wrote || !g.one(6)) {
				continue
			}
			ended = ended || a.Op == "destroy" || a.Op == "null"
		}
		list = append(list, a)
	}
	return list
}
