namespace Hyperscope.Client.Tests;

/// <summary>Events answered twice, late, wrongly or not at all.</summary>
public sealed class MisuseTests
{
    private static readonly PageFaultEvent Write = new(Gva.Unknown, new Gpa(0x1000), PageAccess.Write);

    [Fact]
    public async Task A_second_answer_is_refused_and_does_not_leave()
    {
        await using Hooked hooked = await Hooked.StartAsync(new IntrospectionOptions { HandlerError = static _ => { } });
        var caught = new TaskCompletionSource<EventAnswerException>(TaskCreationOptions.RunContinuationsAsynchronously);
        hooked.Vm.On<PageFaultEvent>(e =>
        {
            e.Retry();
            caught.SetResult(Assert.Throws<EventAnswerException>(() => e.Continue()));
        });
        hooked.Hypervisor.SendEvent(Write);

        EventAnswerException twice = await caught.Task.WaitAsync(Hooked.Cancel);
        Assert.Equal(EventAnswerProblem.AnsweredTwice, twice.Problem);
        Assert.Equal("PageFault event 1 of vCPU 0 has been answered already", twice.Message);
        Assert.Equal(EventAction.Retry, hooked.Hypervisor.ExpectAnswer().Action);
        Assert.False(hooked.Hypervisor.HasMessage);
    }

    [Fact]
    public async Task A_handler_that_does_not_answer_ends_the_connection_with_the_reason()
    {
        await using Hooked hooked = await Hooked.StartAsync();
        hooked.Vm.On<PageFaultEvent>(static _ => { });
        hooked.Hypervisor.SendEvent(Write);

        EventAnswerException missing = await Assert.ThrowsAsync<EventAnswerException>(() => hooked.Vm.Completion.WaitAsync(Hooked.Cancel));
        Assert.Equal(EventAnswerProblem.NotAnswered, missing.Problem);
        Assert.Contains("PageFault event 1 of vCPU 0 was not answered", missing.Message, StringComparison.Ordinal);
        Assert.True(hooked.Hypervisor.SeesEnd());
        ConnectionClosedException closed = await Assert.ThrowsAsync<ConnectionClosedException>(
            async () => await hooked.Vm.GetMaxGfnAsync(Hooked.Cancel));
        Assert.Same(missing, closed.InnerException);
    }

    [Fact]
    public async Task An_async_handler_that_does_not_answer_ends_the_connection_with_the_reason()
    {
        await using Hooked hooked = await Hooked.StartAsync();
        hooked.Vm.OnAsync<PageFaultEvent>(static async _ => await Task.Yield());
        hooked.Hypervisor.SendEvent(Write);
        EventAnswerException missing = await Assert.ThrowsAsync<EventAnswerException>(() => hooked.Vm.Completion.WaitAsync(Hooked.Cancel));
        Assert.Equal(EventAnswerProblem.NotAnswered, missing.Problem);
    }

    [Theory]
    [InlineData("on")]
    [InlineData("async")]
    [InlineData("split")]
    public async Task With_an_error_report_the_event_gets_the_default_answer_and_the_connection_stays(string way)
    {
        var reported = new TaskCompletionSource<Exception>(TaskCreationOptions.RunContinuationsAsynchronously);
        await using Hooked hooked = await Hooked.StartAsync(new IntrospectionOptions { HandlerError = reported.SetResult });
        using IDisposable handler = way switch
        {
            "async" => hooked.Vm.OnAsync<PageFaultEvent>(static _ => throw new InvalidDataException("handler bug")),
            "split" => hooked.Vm.OnSplit<PageFaultEvent>(static _ => throw new InvalidDataException("handler bug"), static _ => default),
            _ => hooked.Vm.On<PageFaultEvent>(static _ => throw new InvalidDataException("handler bug")),
        };
        hooked.Hypervisor.SendEvent(Write);

        Assert.Equal(EventAction.Continue, hooked.Hypervisor.ExpectAnswer().Action);
        Assert.Equal("handler bug", (await reported.Task.WaitAsync(Hooked.Cancel)).Message);
        Assert.Equal(1, hooked.Vm.Statistics.HandlerErrors);
        Assert.False(hooked.Vm.Completion.IsCompleted);
    }

    [Fact]
    public async Task An_event_kept_beyond_its_handler_cannot_answer_the_next_one()
    {
        await using Hooked hooked = await Hooked.StartAsync();
        VmEvent<PageFaultEvent> kept = default;
        var second = new TaskCompletionSource<EventAnswerException>(TaskCreationOptions.RunContinuationsAsynchronously);
        hooked.Vm.On<PageFaultEvent>(e =>
        {
            if (e.Sequence == 1)
            {
                kept = e;
                e.Continue();
                return;
            }

            second.SetResult(Assert.Throws<EventAnswerException>(() => kept.Crash()));
            e.Retry();
        });
        hooked.Hypervisor.SendEvent(Write);
        hooked.Hypervisor.ExpectAnswer();
        hooked.Hypervisor.SendEvent(Write);

        EventAnswerException late = await second.Task.WaitAsync(Hooked.Cancel);
        Assert.Equal(EventAnswerProblem.TooLate, late.Problem);
        Assert.Equal("event 1 of vCPU 0 is over: its handler has returned", late.Message);
        Assert.Equal(EventAction.Retry, hooked.Hypervisor.ExpectAnswer().Action);
    }

    [Fact]
    public async Task An_answer_after_the_connection_ended_is_too_late()
    {
        await using Hooked hooked = await Hooked.StartAsync();
        await foreach (VmEvent e in Start(hooked))
        {
            hooked.Hypervisor.Dispose();
            await hooked.Vm.Completion.WaitAsync(Hooked.Cancel);
            EventAnswerException late = Assert.Throws<EventAnswerException>(e.Continue);
            Assert.Equal(EventAnswerProblem.TooLate, late.Problem);
            Assert.Contains("the connection has ended", late.Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task An_action_that_the_event_does_not_accept_is_refused_and_the_event_still_waits()
    {
        await using Hooked hooked = await Hooked.StartAsync();
        IAsyncEnumerable<VmEvent> events = hooked.Vm.Events(Hooked.Cancel);
        hooked.Hypervisor.SendEvent(new CrEvent(0, 1, 2));
        await foreach (VmEvent e in events)
        {
            EventAnswerException refused = Assert.Throws<EventAnswerException>(() => e.Answer(EventAction.Retry));
            Assert.Equal(EventAnswerProblem.ActionNotAccepted, refused.Problem);
            Assert.Equal("Cr event 1 of vCPU 0 accepts Continue, Crash, not Retry", refused.Message);
            Assert.True(e.IsPending);
            e.Continue();
            break;
        }

        Assert.Equal(EventAction.Continue, hooked.Hypervisor.ExpectAnswer().Action);
    }

    [Fact]
    public async Task A_loop_that_moves_on_without_an_answer_gets_an_exception()
    {
        await using Hooked hooked = await Hooked.StartAsync();
        int turns = 0;
        EventAnswerException missing = await Assert.ThrowsAsync<EventAnswerException>(async () =>
        {
            await foreach (VmEvent e in Start(hooked))
                turns++;
        });

        Assert.Equal(EventAnswerProblem.NotAnswered, missing.Problem);
        Assert.Equal(1, turns);
        Assert.Equal(EventAction.Continue, hooked.Hypervisor.ExpectAnswer().Action); // the guest does not pay for it
    }

    [Fact]
    public async Task A_loop_that_is_left_without_an_answer_gets_an_exception()
    {
        await using Hooked hooked = await Hooked.StartAsync();
        EventAnswerException missing = await Assert.ThrowsAsync<EventAnswerException>(async () =>
        {
            await foreach (VmEvent e in Start(hooked))
                break;
        });

        Assert.Equal(EventAnswerProblem.NotAnswered, missing.Problem);
        Assert.Equal(EventAction.Continue, hooked.Hypervisor.ExpectAnswer().Action);
    }

    [Fact]
    public async Task A_cancelled_loop_answers_what_is_left_and_throws_only_its_cancellation()
    {
        await using Hooked hooked = await Hooked.StartAsync();
        using var cancel = new CancellationTokenSource();
        IAsyncEnumerable<VmEvent> events = hooked.Vm.Events(cancel.Token);
        hooked.Hypervisor.SendEvent(Write, vcpu: 0);
        hooked.Hypervisor.SendEvent(Write, vcpu: 1);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () =>
        {
            await foreach (VmEvent e in events)
            {
                await cancel.CancelAsync();
                cancel.Token.ThrowIfCancellationRequested();
            }
        });

        Assert.Equal(EventAction.Continue, hooked.Hypervisor.ExpectAnswer().Action);
        Assert.Equal(EventAction.Continue, hooked.Hypervisor.ExpectAnswer().Action);
    }

    [Fact]
    public void Nothing_is_no_event()
    {
        Assert.Equal("no event", default(VmEvent).ToString());
        Assert.Throws<InvalidOperationException>(() => default(VmEvent).Continue());
    }

    private static IAsyncEnumerable<VmEvent> Start(Hooked hooked)
    {
        IAsyncEnumerable<VmEvent> events = hooked.Vm.Events(Hooked.Cancel);
        hooked.Hypervisor.SendEvent(Write);
        return events;
    }
}
