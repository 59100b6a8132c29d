using System.Diagnostics;

namespace Hyperscope.Guard;

public sealed partial class GuardSession
{
    private const int UnknownSize = 8; // of an access, on a server that does not say; no plain store is longer

    private static readonly Dictionary<uint, string> MsrNames = new()
    {
        [MsrIndex.Lstar] = "LSTAR",
        [MsrIndex.Cstar] = "CSTAR",
        [MsrIndex.Star] = "STAR",
        [MsrIndex.Sfmask] = "SFMASK",
        [MsrIndex.SysenterCs] = "SYSENTER_CS",
        [MsrIndex.SysenterEip] = "SYSENTER_EIP",
    };

    private readonly Dictionary<GuardRule, RuleCounts> _counts = [];
    private readonly EvidenceCollector _evidence;
    private readonly CoreSaver _cores;
    private readonly SemaphoreSlim _reporting = new(1);
    private long _events, _unconcerned, _waitedTicks;

    /// <summary>What was seen so far.</summary>
    public GuardStatistics Statistics => new(
        Interlocked.Read(ref _events), Interlocked.Read(ref _unconcerned), Stopwatch.GetElapsedTime(0, Interlocked.Read(ref _waitedTicks)),
        Interlocked.Read(ref _unfollowed), _lastFailure,
        [.. _rules.Select(rule => _counts[rule].Read(rule.Name))]);

    private async ValueTask HandleCoreAsync(VmEvent<AccessEvent> e)
    {
        long started = Arrived();
        if (Concerned(e.Gpa, e.Size, e.Access) is { } range)
        {
            GuardEvent guarded = Describe(e.Untyped, GuardSubject.Memory) with
            {
                Gva = e.Gva,
                Gpa = e.Gpa,
                Access = e.Access,
                Size = e.Size,
                Before = e.CurrentBytes(),
                After = e.NewBytes(),
                Range = range,
            };
            await JudgeAsync(range.Rule, guarded, new AccessAnswer(e)).ConfigureAwait(false);
        }
        else
        {
            e.Continue();
        }

        Left(started);
    }

    private async ValueTask HandleCoreAsync(VmEvent<PageFaultEvent> e)
    {
        long started = Arrived();
        if (Concerned(e.Gpa, UnknownSize, e.Access) is { } range)
        {
            byte[] before = new byte[UnknownSize];
            int read = await Vm.TryReadPhysicalAsync(e.Gpa, before, _untilEnded).ConfigureAwait(false);
            GuardEvent guarded = Describe(e.Untyped, GuardSubject.Memory) with
            {
                Gva = e.Gva,
                Gpa = e.Gpa,
                Access = e.Access,
                Before = before[..read],
                Range = range,
            };
            await JudgeAsync(range.Rule, guarded, new RetryAnswer(e.Untyped)).ConfigureAwait(false);
        }
        else
        {
            e.Continue();
        }

        Left(started);
    }

    private async ValueTask HandleCoreAsync(VmEvent<CrEvent> e)
    {
        long started = Arrived();
        ulong cleared = e.OldValue & ~e.NewValue;
        GuardRule? rule = null;
        if (_plan is { } plan && plan.Controls.TryGetValue(e.Cr, out List<(GuardRule Rule, ulong Mask)>? pins))
            rule = pins.FirstOrDefault(pin => (pin.Mask & cleared) != 0).Rule;
        await RegisterAsync(e.Untyped, rule, GuardSubject.ControlRegister, $"CR{e.Cr}", e.OldValue, e.NewValue, new RegisterAnswer(e.Untyped, () => e.Block())).ConfigureAwait(false);
        Left(started);
    }

    private async ValueTask HandleCoreAsync(VmEvent<MsrEvent> e)
    {
        long started = Arrived();
        GuardRule? rule = e.OldValue != e.NewValue ? _plan?.Msrs.GetValueOrDefault(e.Msr) : null;
        string name = MsrNames.GetValueOrDefault(e.Msr) ?? $"MSR 0x{e.Msr:x}";
        await RegisterAsync(e.Untyped, rule, GuardSubject.Msr, name, e.OldValue, e.NewValue, new RegisterAnswer(e.Untyped, () => e.Block())).ConfigureAwait(false);
        Left(started);
    }

    private async ValueTask HandleCoreAsync(VmEvent<DescriptorEvent> e)
    {
        long started = Arrived();
        GuardRule? rule = e.IsWrite ? _plan?.Tables.GetValueOrDefault(e.Table) : null;
        KvmSregs system = e.State.Sregs;
        ulong old = e.Table == DescriptorTable.Idtr ? system.Idt.Base : e.Table == DescriptorTable.Gdtr ? system.Gdt.Base : 0;
        TableLoad load = rule is null ? default : await Disassembly.TableLoadAsync(Guest, e.Registers, system, _untilEnded).ConfigureAwait(false);
        ulong value = load.Base;
        if (rule is not null && load.Length != 0 && value == old)
        {
            // Loaded with what it has. The processor would read the operand anew, and not find what we did: so it does not get to.
            KvmRegs registers = e.Registers;
            registers.Rip += (ulong)load.Length;
            await e.Vcpu.SetRegistersAsync(registers, _untilEnded).ConfigureAwait(false);
            Interlocked.Increment(ref _unconcerned);
            e.Retry();
            Left(started);
            return;
        }

        await RegisterAsync(e.Untyped, rule, GuardSubject.DescriptorTable, $"{e.Table}".ToUpperInvariant(), old, value, new RetryAnswer(e.Untyped))
            .ConfigureAwait(false);
        Left(started);
    }

    private ValueTask HandleAsync(VmEvent<AccessEvent> e) => UntilEndedAsync(HandleCoreAsync(e), e.Untyped);

    private ValueTask HandleAsync(VmEvent<PageFaultEvent> e) => UntilEndedAsync(HandleCoreAsync(e), e.Untyped);

    private ValueTask HandleAsync(VmEvent<CrEvent> e) => UntilEndedAsync(HandleCoreAsync(e), e.Untyped);

    private ValueTask HandleAsync(VmEvent<MsrEvent> e) => UntilEndedAsync(HandleCoreAsync(e), e.Untyped);

    private ValueTask HandleAsync(VmEvent<DescriptorEvent> e) => UntilEndedAsync(HandleCoreAsync(e), e.Untyped);

    // When the guard ends in the middle of an event, the guest goes on.
    private async ValueTask UntilEndedAsync(ValueTask handling, VmEvent e)
    {
        try
        {
            await handling.ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (_untilEnded.IsCancellationRequested)
        {
            if (e.IsPending)
                e.Continue();
        }
    }

    private async ValueTask RegisterAsync(
        VmEvent e, GuardRule? rule, GuardSubject subject, string name, ulong oldValue, ulong newValue, EventAnswer answer)
    {
        if (rule is null)
        {
            Interlocked.Increment(ref _unconcerned);
            answer.Continue();
            return;
        }

        GuardEvent guarded = Describe(e, subject) with
        {
            Access = PageAccess.Write,
            Register = name,
            OldValue = oldValue,
            NewValue = newValue,
        };
        await JudgeAsync(rule, guarded, answer).ConfigureAwait(false);
    }

    private async ValueTask JudgeAsync(GuardRule rule, GuardEvent e, EventAnswer answer)
    {
        Judgement judgement;
        try
        {
            judgement = await rule.JudgeAsync(e, _untilEnded).ConfigureAwait(false);
        }
        catch (Exception broken) when (broken is LinuxGuestException or KvmiException)
        {
            // A guest whose structures do not hold together gets no benefit of the doubt.
            judgement = new Judgement(rule.Settings.Verdict, broken.Message);
        }

        _counts[rule].Count(isViolation: judgement.Verdict != Verdict.Allow);
        if (judgement.Verdict == Verdict.Allow)
        {
            answer.Continue();
            return;
        }

        Violation violation = await _evidence.CollectAsync(rule, e, judgement, _untilEnded).ConfigureAwait(false);
        await CarryOutAsync(rule, e, violation, answer).ConfigureAwait(false);
    }

    private GuardEvent Describe(VmEvent e, GuardSubject subject) => new()
    {
        Guest = Guest,
        Vm = Vm,
        Vcpu = e.Vcpu,
        Registers = e.Registers,
        System = e.State.Sregs,
        ShadowGs = e.State.Msrs.ShadowGs,
        Subject = subject,
    };

    private GuardedRange? Concerned(Gpa gpa, int size, PageAccess access)
    {
        GuardedRange? range = _map.Find(gpa, size, access);
        if (range is null)
            Interlocked.Increment(ref _unconcerned);
        return range;
    }

    private long Arrived()
    {
        Interlocked.Increment(ref _events);
        return Stopwatch.GetTimestamp();
    }

    private void Left(long started) => Interlocked.Add(ref _waitedTicks, Stopwatch.GetTimestamp() - started);

    private sealed class RuleCounts
    {
        private long _legitimate, _violations;

        public void Count(bool isViolation) => Interlocked.Increment(ref isViolation ? ref _violations : ref _legitimate);

        public RuleStatistics Read(string name)
        {
            long legitimate = Interlocked.Read(ref _legitimate), violations = Interlocked.Read(ref _violations);
            return new RuleStatistics(name, legitimate + violations, legitimate, violations);
        }
    }
}
