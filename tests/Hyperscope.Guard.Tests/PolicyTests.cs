namespace Hyperscope.Guard.Tests;

public sealed class PolicyTests
{
    [Fact]
    public void Shipped_policy_uses_every_kind_of_rule()
    {
        GuardPolicy policy = GuardPolicy.Parse(Sources.Read("policies/kernel.yaml"), "kernel.yaml");
        Assert.Equal("kernel", policy.Name);
        Assert.Empty(RuleCatalog.All.Select(static kind => kind.Name).Except(policy.Rules.Select(static rule => rule.Kind.Name)));
    }

    [Fact]
    public void Rule_has_the_defaults_of_its_kind()
    {
        RuleSettings rule = Assert.Single(GuardPolicy.Parse("rules: [{kind: idt}]").Rules);
        Assert.Equal("idt", rule.Name);
        Assert.Equal(Verdict.Discard, rule.Verdict);
        Assert.Empty(rule.Options);
    }

    [Fact]
    public void Another_verdict_for_all_leaves_rules_alone_that_do_not_know_it()
    {
        GuardPolicy policy = GuardPolicy.Parse("rules: [{kind: idt}, {kind: hidden-process}]").With(Verdict.Exception);
        Assert.Equal([Verdict.Exception, Verdict.Log], policy.Rules.Select(static rule => rule.Verdict));
    }

    [Theory]
    [InlineData("rules: [", "p:2: ")]
    [InlineData("- a", "one document with the keys name and rules")]
    [InlineData("name: x", "the policy has no rules")]
    [InlineData("rules: []", "the policy has no rules")]
    [InlineData("name: x\nrulez: []", "p:2: there is no key \"rulez\"")]
    [InlineData("rules:\n- verdict: log", "p:2: a rule needs a kind: kernel-text, ")]
    [InlineData("rules:\n- kind: kernel-txt", "p:2: there is no kind of rule \"kernel-txt\"")]
    [InlineData("rules:\n- kind: idt\n- kind: idt", "p:3: there are several rules \"idt\"")]
    [InlineData("rules:\n- {kind: idt, verdict: ignore}", "p:2: rule idt: verdict is \"ignore\"; rules of kind idt know discard, allow")]
    [InlineData("rules:\n- {kind: hidden-process, verdict: discard}", "rules of kind hidden-process know log, crash")]
    [InlineData("rules:\n- {kind: idt, pin: lstar}", "p:2: rule idt: there is no key \"pin\"")]
    [InlineData("rules:\n- {kind: entry-points, pin: [lstar, lstart]}", "pin is \"lstart\", lstar, cstar, star, sfmask, sysenter is wanted")]
    [InlineData("rules:\n- {kind: bytes}", "rule bytes: symbol is \"\", the name of a variable is wanted")]
    [InlineData("rules:\n- {kind: bytes, symbol: x, length: 1e9}", "length is \"1e9\", a number from 1 to 1048576 is wanted")]
    [InlineData("rules:\n- {kind: kernel-text, patching: yes}", "patching is \"yes\", allow or log is wanted")]
    [InlineData("rules:\n- {kind: idt, verdict: redirect}", "verdict redirect and the key target (a symbol) need each other")]
    [InlineData("rules:\n- {kind: idt, target: x}", "verdict redirect and the key target (a symbol) need each other")]
    [InlineData("rules:\n- {kind: entry-points, verdict: redirect, target: x}", "rules of kind entry-points know discard, allow, log, exception, pause, crash")]
    [InlineData("rules:\n- {kind: idt, core: a}\n- {kind: gdt, core: a}", "p:3: several rules save a core as \"a\"")]
    [InlineData("rules:\n- {kind: idt, cores: a}", "there is no key \"cores\"; rules of kind idt know kind, name, verdict, target, core")]
    [InlineData("rules:\n- {kind: w-xor-x}", "images is \"\", a list of paths")]
    [InlineData("rules:\n- {kind: [idt, gdt]}", "a rule needs a kind")]
    [InlineData("rules:\n- {kind: idt, verdict: {a: b}}", "p:2: verdict is one value, not a list or a mapping")]
    public void Policy_that_makes_no_sense_is_refused_with_its_place(string yaml, string message)
    {
        PolicyException refused = Assert.Throws<PolicyException>(() => GuardPolicy.Parse(yaml, "p"));
        Assert.Contains(message, refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Policy_of_any_length_and_depth_ends_in_a_refusal()
    {
        Assert.Throws<PolicyException>(() => GuardPolicy.Parse(new string('a', 2 << 20)));
        Assert.Throws<PolicyException>(() => GuardPolicy.Parse("rules: " + new string('[', 500)));
    }
}
