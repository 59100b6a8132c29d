using System.Threading.Channels;

namespace Hyperscope.Client;

/// <summary>Where the events of one kind, or all others, go. Each event has exactly one taker, as it has exactly one answer.</summary>
internal abstract class EventRoute
{
    /// <summary>Takes an event, on the reader thread.</summary>
    /// <returns>False if it does not want it any more.</returns>
    public abstract bool Deliver(EventSlot slot);

    /// <summary>Tells that no further event will come.</summary>
    public virtual void Close(Exception? failure)
    {
    }
}

/// <summary>Runs a handler at once on the reader thread: nothing is allocated and no thread is woken.</summary>
/// <param name="connection">Learns of what handlers get wrong.</param>
/// <param name="handler">False: it leaves the event to somebody else.</param>
internal class HandlerRoute<T>(Connection connection, Func<VmEvent<T>, bool> handler) : EventRoute
    where T : unmanaged, IEvent<T>
{
    protected Connection Connection => connection;

    public override bool Deliver(EventSlot slot)
    {
        slot.IsInUse = true;
        try
        {
            if (!handler(new VmEvent<T>(slot)))
                return false;
            if (slot.IsPending && !connection.IsClosed)
                connection.HandlerFailed(slot, slot.NotAnswered());
        }
        catch (Exception failure)
        {
            // The handler is foreign code on our thread: whatever it throws is its author's to see, not ours to die of.
            connection.HandlerFailed(slot, failure);
        }
        finally
        {
            slot.IsInUse = false;
        }

        return true;
    }
}

/// <summary>Runs an asynchronous handler on the thread pool, unless another has dealt with the event on the reader thread.</summary>
internal sealed class AsyncHandlerRoute<T>(Connection connection, Func<VmEvent<T>, bool> first, Func<VmEvent<T>, ValueTask> handler)
    : HandlerRoute<T>(connection, first)
    where T : unmanaged, IEvent<T>
{
    public override bool Deliver(EventSlot slot)
    {
        if (base.Deliver(slot))
            return true;
        EventSlot own = slot.Vcpu.Detach(slot);
        ThreadPool.UnsafeQueueUserWorkItem(
            static state => _ = state.Route.RunAsync(state.Slot), (Route: this, Slot: own), preferLocal: false);
        return true;
    }

    private async Task RunAsync(EventSlot slot)
    {
        try
        {
            await handler(new VmEvent<T>(slot)).ConfigureAwait(false);
            if (slot.IsPending && !Connection.IsClosed)
                Connection.HandlerFailed(slot, slot.NotAnswered());
        }
        catch (Exception failure)
        {
            Connection.HandlerFailed(slot, failure);
        }
    }
}

/// <summary>Queues events for a loop.</summary>
internal sealed class StreamRoute : EventRoute
{
    private readonly Channel<EventSlot> _channel =
        Channel.CreateUnbounded<EventSlot>(new UnboundedChannelOptions { SingleReader = true, SingleWriter = false });

    public ChannelReader<EventSlot> Reader => _channel.Reader;

    public override bool Deliver(EventSlot slot)
    {
        EventSlot own = slot.Vcpu.Detach(slot);
        return _channel.Writer.TryWrite(own);
    }

    public override void Close(Exception? failure) => _channel.Writer.TryComplete(failure);
}
