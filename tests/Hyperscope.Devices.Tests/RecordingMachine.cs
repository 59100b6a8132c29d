namespace Hyperscope.Devices.Tests;

/// <summary>Remembers what the guest asked of the machine.</summary>
internal sealed class RecordingMachine : IMachineControl
{
    public int? ExitStatus { get; private set; }

    public int PowerOffs { get; private set; }

    public int Resets { get; private set; }

    public void RequestExit(int status) => ExitStatus = status;

    public void RequestPowerOff() => PowerOffs++;

    public void RequestReset() => Resets++;
}
