namespace Hyperscope.Guard;

public sealed partial class GuardSession
{
    private const byte GeneralProtection = 13;

    // Evidence is written before the answer: what a crash of this tool leaves unanswered has at least been said.
    private async ValueTask CarryOutAsync(GuardRule rule, GuardEvent e, Violation violation, EventAnswer answer)
    {
        violation = await _cores.SaveAsync(rule, e, violation, _untilEnded).ConfigureAwait(false);
        if (_options.BeforeVerdict is { } before)
            await before(Vm, violation, _untilEnded).ConfigureAwait(false);
        Verdict verdict = violation.Verdict;
        if (verdict == Verdict.Pause)
        {
            await ReportAsync(violation).ConfigureAwait(false);
            verdict = await InspectAsync(violation).ConfigureAwait(false);
        }

        string outcome = await PrepareAsync(rule, e, verdict).ConfigureAwait(false);
        await ReportAsync(violation with { Outcome = outcome }).ConfigureAwait(false);
        switch (outcome)
        {
            case Outcomes.Crashed:
                answer.Crash();
                break;
            case Outcomes.Discarded when answer.TryDiscard():
            case Outcomes.Skipped or Outcomes.Redirected or Outcomes.Raised when answer.TryRetry():
                break;
            case Outcomes.Raised when answer.TryDiscard():
                break; // a register: it stays, and the exception comes behind the instruction
            default:
                answer.Continue();
                break;
        }
    }

    // What can be done about it, and all of it but the answer.
    private async ValueTask<string> PrepareAsync(GuardRule rule, GuardEvent e, Verdict verdict)
    {
        switch (verdict)
        {
            case Verdict.Crash:
                return Outcomes.Crashed;
            case Verdict.Discard when e.Subject is GuardSubject.ControlRegister or GuardSubject.Msr:
            case Verdict.Discard when e.Subject == GuardSubject.Memory && HasExtensions && e.Access == PageAccess.Write:
                return Outcomes.Discarded;
            case Verdict.Discard when e.Subject == GuardSubject.DescriptorTable || e.Access == PageAccess.Write:
                // Without the extension an instruction can be stepped over if its store is all that it does.
                int? length = await Disassembly.SkippableAsync(Guest, e, _untilEnded).ConfigureAwait(false);
                if (length is { } bytes)
                {
                    await GoToAsync(e, e.Registers.Rip + (ulong)bytes).ConfigureAwait(false);
                    return Outcomes.Skipped;
                }

                goto case Verdict.Exception;
            case Verdict.Discard: // of code there is nothing to discard but its execution
            case Verdict.Exception:
                await RaiseAsync(e.Vcpu!).ConfigureAwait(false);
                return Outcomes.Raised;
            case Verdict.Redirect:
                await GoToAsync(e, Guest.Symbols.AddressOf(rule.Settings.Text("target")).Value).ConfigureAwait(false);
                return Outcomes.Redirected;
            default:
                return Outcomes.WentThrough;
        }
    }

    private async ValueTask RaiseAsync(IntrospectedVcpu vcpu)
    {
        try
        {
            await vcpu.InjectExceptionAsync(GeneralProtection, 0, 0, _untilEnded).ConfigureAwait(false);
        }
        catch (KvmiException busy) when (busy.Error == KvmError.Busy)
        {
            // One is on its way already.
        }
    }

    private ValueTask GoToAsync(GuardEvent e, ulong rip)
    {
        KvmRegs registers = e.Registers;
        registers.Rip = rip;
        return e.Vcpu!.SetRegistersAsync(registers, _untilEnded);
    }

    private async ValueTask<Verdict> InspectAsync(Violation violation)
    {
        if (_options.Inspect is { } inspect)
        {
            Verdict decided = await inspect(violation, _untilEnded).ConfigureAwait(false);
            return decided == Verdict.Pause ? Verdict.Log : decided;
        }

        try
        {
            await Task.Delay(Timeout.InfiniteTimeSpan, _untilEnded).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            // The guard ends, and the guest goes on.
        }

        return Verdict.Log;
    }

    // One at a time: reports of several vCPUs do not mix.
    private async ValueTask ReportAsync(Violation violation)
    {
        if (_options.Report is not { } report)
            return;
        await _reporting.WaitAsync(CancellationToken.None).ConfigureAwait(false);
        try
        {
            report(violation);
        }
        finally
        {
            _reporting.Release();
        }
    }

    private static class Outcomes
    {
        public const string WentThrough = "went through", Discarded = "discarded", Skipped = "instruction skipped", Raised = "#GP raised",
            Redirected = "redirected", Crashed = "VM ended", Found = "found";
    }
}
